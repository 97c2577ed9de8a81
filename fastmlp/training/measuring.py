"""How well a model answers rows: mean loss and score, in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..data import Dataset
from ..graph import Array
from ..nn import Loss, Module
from ..nn.score import added
from ..running import door
from ..running.rows import float_targets

EVALUATION_BATCH = 16384  # rows of outputs that are held at a time


def measure(
    model: Module,
    data: Dataset,
    loss: Loss,
    batch_size: int = EVALUATION_BATCH,
    n_threads: int | str = "auto",
    keep: Callable[[int, Array], None] = lambda first, z: None,
    temperature: float = 1.0,
) -> tuple[float, float]:
    """Mean loss and score, with the data's weights; `keep` is called with (first row, outputs) of each batch.

    temperature: a loss in nats, which is one of probabilities, is that of outputs / temperature.
    """
    targets, (weights, _) = float_targets(data), door.weights_of("evaluate", data)
    numbers = loss.score.known(targets, weights)
    scaled = temperature != 1 and loss.unit == "nats"
    loss_sum = mass = above = below = 0.0
    for first, z in door.outputs(model, data, batch_size, n_threads):
        if first == 0:
            door.check_targets("evaluate", loss, data, z.shape[1])
        rows = slice(first, first + len(z))
        found = loss.measure(z, targets[rows], numbers, None if weights is None else weights[rows])
        above, below = added(above, found.above), added(below, found.below)
        if scaled:
            found = loss.measure(z / temperature, targets[rows], numbers, None if weights is None else weights[rows])
        loss_sum, mass = loss_sum + found.loss, mass + found.mass
        keep(first, z)
    return loss_sum / mass if mass else math.nan, loss.score.of(above, below)
