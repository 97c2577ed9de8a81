"""What the outputs of a model mean where targets are numbers: here targets are scaled, and outputs scaled back.

A model that was trained on a table answers in scaled units, z = (t - mean) / std; its `encoding_` has both. Targets are
scaled where a loss meets them, outputs are scaled back where a person does. An export has it in its last step
(`store/export/source.py`).
"""

from __future__ import annotations

from ..data import Dataset
from ..graph import Array
from ..nn import Loss, Module


def scaled_targets(model: Module, data: Dataset) -> Dataset:
    """The rows with their targets as the model's outputs are to meet them; `data` itself where they are not."""
    return data if model.encoding_ is None or data.kind != "numbers" else model.encoding_.scaled(data)


def said_numbers(model: Module, loss: Loss | None, z: Array) -> Array:
    """What outputs say, (N, T), in the unit of the targets: what the loss makes of them, scaled back.    z: (N, C)"""
    said = z if loss is None else loss.predicted(z)
    return said if model.encoding_ is None else model.encoding_.unscaled(said)
