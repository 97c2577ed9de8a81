"""Losses by the names that a command line and a file have for them."""

from __future__ import annotations

import re
from typing import Any

from ..check import shown
from ..nn import LOSSES, CrossEntropyLoss, Loss

USUAL = {
    "numbers": "mse_loss",
    "labels": "binary_cross_entropy_with_logits",
}  # where none is named; others: for classes


def usual_loss(kind: str) -> Loss:
    """The loss for targets of a kind, where none is named: cross-entropy for classes and probabilities."""
    made: Any = LOSSES[USUAL[kind]] if kind in USUAL else CrossEntropyLoss
    return made()


def loss_name(kind: type[Loss]) -> str:
    """The class of a loss as it is written on a command line: smooth_l1 for SmoothL1Loss, bce_with_logits."""
    parts = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    return re.sub(parts, "_", kind.__name__.removesuffix("Loss")).lower()


LOSS_NAMES: dict[str, type[Loss]] = {loss_name(kind): kind for kind in LOSSES.values()}


def loss_named(text: str) -> str:
    """The name of LOSS_NAMES that is meant: the name itself, its first words, or that of its operation.

    "bce" is bce_with_logits, "mse_loss" and "MSE" are mse, "smooth-l1" is smooth_l1. Error: ValueError for none and for
    more than one.
    """
    asked = text.strip().lower().replace("-", "_")
    if asked in LOSSES:
        return loss_name(LOSSES[asked])
    asked = asked.removesuffix("_loss")
    found = [name for name in LOSS_NAMES if name == asked or name.startswith(f"{asked}_")]
    if asked in LOSS_NAMES or len(found) == 1:
        return asked if asked in LOSS_NAMES else found[0]
    raise ValueError(f"{shown(text)} is no loss; it must be one of {', '.join(LOSS_NAMES)}")
