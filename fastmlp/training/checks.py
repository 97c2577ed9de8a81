"""What `fit` and `evaluate` refuse, in one sentence each, before anything is changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..check import shown, takes, whole
from ..data import Dataset
from ..graph import Array
from ..machine import thread_limit
from ..nn import LOSSES, Loss, Module
from ..running import door


def hold_out(data: Dataset, validation: float | Dataset | None, seed: int) -> tuple[Array, Dataset | None]:
    """The rows to train on, and the data set to evaluate after each epoch."""
    everything = np.arange(len(data))
    if isinstance(validation, Dataset):
        if (validation.n_features, validation.features.dtype, validation.scale) != (
            data.n_features, data.features.dtype, data.scale
        ):  # fmt: skip
            raise ValueError(f"fit: validation is {validation}, data is {data}; their features must agree")
        if (
            None not in (validation.feature_names, data.feature_names)
            and validation.feature_names != data.feature_names
        ):
            own = zip(data.feature_names or (), validation.feature_names or (), strict=True)
            place, (ours, theirs) = next((n, pair) for n, pair in enumerate(own) if pair[0] != pair[1])
            raise ValueError(
                f"fit: column {place} of data is {shown(ours)}, of validation {shown(theirs)}; they must be the same"
            )
        return everything, validation
    if validation is None or (isinstance(validation, int | float) and validation == 0 and validation is not False):
        return everything, None
    if isinstance(validation, bool) or not isinstance(validation, int | float | np.integer | np.floating):
        what = shown(validation) if isinstance(validation, bool | str) else type(validation).__name__
        raise TypeError(f"fit: validation is {what}; it must be a Dataset, a fraction of the rows, a count, or None")
    if data.encoding is not None:
        raise ValueError(
            f"fit: validation is {shown(validation)}; the columns of data are scaled by all of its rows, so give it to "
            "table(..., validation=), and train.validation to fit"
        )
    if not 0 < validation < len(data):
        bounds = f"a fraction, or a count below {len(data)} rows"
        raise ValueError(f"fit: validation is {shown(validation)}; it must be {bounds}")
    rows, held_out = data.split_rows(validation, seed)
    return rows, data[held_out]


def checked_loss(loss: Any, caller: str = "fit") -> Loss:
    """The loss itself."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"{caller}: loss is the class {loss.__name__}; it must be an object, {loss.__name__}()")
    if not isinstance(loss, Loss):
        kinds = ", ".join(kind.__name__ for kind in LOSSES.values())
        raise TypeError(f"{caller}: loss is {shown(loss)}; it must be a loss of fastmlp.nn: {kinds}")
    if loss.reduction == "none":
        raise ValueError(f"{caller}: loss has the reduction 'none', a loss for each row; it must be 'mean' or 'sum'")
    return loss


def check_callback(callback: Any) -> None:
    """Refuse one that cannot be called as `fit` will, before the first epoch is lost to it."""
    name = getattr(callback, "__name__", None) or type(callback).__name__
    takes(f"fit: the callback {name}", callback, "model", "history")
    for method, argument in (("start", "optimizer"), ("finish", "history")):
        if hasattr(callback, method):
            takes(f"fit: {method} of the callback {name}", getattr(callback, method), "model", argument)
    for method, argument in (("use_loss", "loss"), ("on_chunk_end", "chunk")):
        if hasattr(callback, method):
            takes(f"fit: {method} of the callback {name}", getattr(callback, method), argument)


def batch_sizes(rows: int, batch_size: int, batch_norm: bool = False) -> list[int]:
    """Sizes that add up to `rows`: whole batches, then what is left over."""
    sizes = [batch_size] * (rows // batch_size) + ([rows % batch_size] if rows % batch_size else [])
    if batch_norm and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]  # one row has no spread
    return sizes


def check_model_and_data(caller: str, model: Any, data: Any) -> None:
    """Refuse what is no model, and no rows that kernels can read."""
    if not isinstance(model, Module) or isinstance(model, Loss):
        raise TypeError(f"{caller}: model is {type(model).__name__}; it must be a fastmlp.nn.Module")
    if not isinstance(data, Dataset):
        raise TypeError(f"{caller}: data is {type(data).__name__}; it must be a fastmlp.data.Dataset(features, labels)")
    door.check_rows(caller, data)
    check_encoding(f"{caller}: data", model, data)


def check_encoding(what: str, known: Any, data: Any) -> None:
    """Refuse rows of a table whose columns were scaled by other rows than those of the model, or of its data."""
    then = known.encoding if isinstance(known, Dataset) else known.encoding_
    if then is None or not isinstance(data, Dataset) or data.encoding is None:
        return
    if data.encoding.with_targets_as_they_are() != then.with_targets_as_they_are():  # that hangs on the loss
        raise ValueError(
            f"{what} is a table whose columns were scaled by other rows than the training's; it must be encoded as "
            "they are: model.encoding_.dataset(table), or table(..., test=table)"
        )


def check_threads(caller: str, n_threads: Any) -> None:
    """A whole number of at least 1, or "auto", which the environment may limit."""
    if isinstance(n_threads, str) and n_threads == "auto":
        thread_limit(caller)
    else:
        whole(f"{caller}: n_threads", n_threads, 1, " or 'auto'")
