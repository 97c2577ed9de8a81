"""Calibrated probabilities: of the rows that a net is 90 % sure of, nine in ten should be right.

A net that is trained until it knows its rows by heart is too sure of itself on new ones. `calibrate=True` finds the one
number, a temperature, by which its outputs are divided so that held-out rows are as likely as can be. What is
predicted stays; how sure the net is of it changes. The log loss, and the reliability plot, show the difference.

    python examples/calibrated.py          needs the extra sklearn: pip install -e '.[sklearn]'
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import fastmlp as fm
from fastmlp.sklearn import MLPClassifier


def evaluated(model: MLPClassifier, X: np.ndarray, y: np.ndarray) -> fm.Evaluation:
    """What `fm.evaluate` gives for a net, made of an estimator's probabilities: measures and plots take it."""
    p = model.predict_proba(X)
    return fm.Evaluation(log_loss(y, p), model.score(X, y), len(y), np.searchsorted(model.classes_, y), p)


def main() -> None:
    """Train the same net, to the last bit, with and without a temperature, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="where the picture goes")
    folder = parser.parse_args().out

    digits, y = load_digits(return_X_y=True)
    # digits are too easy to be wrong about: noise, half as strong as the brightest stroke, makes them hard
    X = digits / 16 + np.random.default_rng(0).normal(0, 0.5, digits.shape)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
    # rows that no weight is learned from: those that are learned from are all right, and would say "be surer still"
    X, X_held, y, y_held = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)

    net = MLPClassifier((64,), batch_size=32, max_iter=60, random_state=0)
    warnings.simplefilter("ignore", ConvergenceWarning)  # sixty epochs are what is asked for
    before = clone(net).fit(X, y, X_val=X_held, y_val=y_held)
    after = clone(net).set_params(calibrate=True).fit(X, y, X_val=X_held, y_val=y_held)
    print(
        f"right on {before.score(X, y):.1%} of the {len(y)} rows it learned from; temperature {after.temperature_:.2f}"
    )

    print(f"{len(y_test)} new rows{'accuracy':>14}{'mean confidence':>17}{'log loss':>10}{'calibration error':>19}")
    found = {name: evaluated(model, X_test, y_test) for name, model in (("before", before), ("after", after))}
    for name, e in found.items():
        confidence = e.probabilities.max(axis=1).mean()
        print(f"{name:12}{e.accuracy:14.1%}{confidence:17.1%}{e.loss:10.3f}{e.calibration_error:19.1%}")

    folder.mkdir(parents=True, exist_ok=True)
    fm.plots.reliability(found["after"], before=found["before"]).savefig(folder / "reliability.png", dpi=120)
    print(f"wrote {folder / 'reliability.png'}")


if __name__ == "__main__":
    main()
