"""What `train.py --calibrate` does: the temperature of held-out rows, and what it made of the calibration error."""

from __future__ import annotations

from typing import Any

from ..data import Dataset
from ..nn import Loss, Module
from .calibration import calibrate
from .train import evaluate


def check_can_calibrate(kind: str, held_out: int) -> None:
    """Refuse targets without probabilities, and a training that holds no rows out. ValueError."""
    if kind == "numbers":
        raise ValueError("argument --calibrate: the targets are numbers; it is for classes, labels or probabilities")
    if not held_out:
        raise ValueError("argument --calibrate: no rows are held out to calibrate on; --validation says how many")


def calibrated(model: Module, held: Dataset, test: Dataset | None, loss: Loss) -> tuple[Any, str]:
    """Calibrate on the held-out rows: ((evaluation before, evaluation after), a line for a person).

    Evaluations are those of the test set, and of the held-out rows where there is none; None for labels, which have no
    calibration error.
    """
    data, name = (held, "held-out") if test is None else (test, "test")
    before = evaluate(model, data, loss=loss)
    said = f"temperature {calibrate(model, held):.4f}, by {len(held):,} held-out rows"
    if before.kind != "classes":
        return None, said
    pair = before, evaluate(model, data, loss=loss)
    return pair, f"{said}; {name} calibration error " + " → ".join(f"{100 * e.calibration_error:.2f} %" for e in pair)
