"""Another library asks, fastmlp trains: Optuna's ask and tell, four configurations at a time on two processes.

Optuna's sampler learns from what was told; the sweep's journal keeps each answer, so the same script, ended and started
again with the same --out, trains nothing twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import optuna
from sklearn.datasets import load_digits

import fastmlp as fm


def main(out: Path, rounds: int = 4, at_once: int = 4) -> None:
    """Ask, train, tell."""
    digits = load_digits()
    data = fm.Dataset(digits.data.astype(np.float32) / 16, digits.target)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=4))
    for number in range(rounds):
        asked = [study.ask() for _ in range(at_once)]
        configurations = [
            {
                "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
                "hidden": (trial.suggest_int("width", 8, 128, log=True),),
                "dropout": trial.suggest_float("dropout", 0, 0.5),
            }
            for trial in asked
        ]
        found = fm.scale.sweep(data, configurations, out / "optuna", epochs=8, n_jobs=2, progress=False)
        for trial, ours in zip(asked, found, strict=True):
            study.tell(trial, ours.score)
        best = max(ours.score for ours in found)
        print(f"round {number + 1}: best of {at_once} {best:.3f}, so far {study.best_value:.3f}")
    print(
        f"{len(study.trials)} configurations, best lr {study.best_params['lr']:.4f}, width {study.best_params['width']}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the sweep")
    main(parser.parse_args().out)
