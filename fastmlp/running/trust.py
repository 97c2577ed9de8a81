"""What kernels read by its address is checked here, each time before they do: rows, targets, sizes of batches.

A `Dataset` was checked when it was made. Since then its arrays may have been replaced, resized or written to, and the
file under a memory map may have shrunk; a kernel would not notice. A file that shrinks while an epoch reads it is an
OSError where its map is large, as its rows are read from the file then (`data.mapped`); else it ends the process, as
the system has it: nobody can check for that.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from .. import kernels
from ..check import is_number, reason, shown
from ..data import Dataset
from ..data.sparse import Sparse
from ..data.streamed import Shards
from ..graph import Array
from ..nn import Layer, Loss, Module
from ..nn.rowloss import row_weights
from ..optim import Optimizer

REMEDY = "make a Dataset of the new array"


def check_model(model: Module, loss: Loss) -> None:
    """Refuse layers and a loss that a callback has left without what they need. Errors: ValueError, TypeError."""
    dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
    for module in model.modules():
        kind = type(module).__name__
        try:
            if isinstance(module, Layer):
                module.check()
        except AttributeError as error:  # of a parameter that was taken away
            gone = [name for name in getattr(module, "weights", ()) if getattr(module, name, None) is None]
            raise TypeError(f"fit: a {kind} has lost its {gone[0] if gone else reason(error)}") from error
        for name, array in module._buffers.items():
            if module.training and not array.flags.writeable:
                raise ValueError(f"fit: {name} of a {kind} is read-only; it must be writable to be trained with")
            if array.dtype.kind == "f" and array.dtype != dtype:
                raise TypeError(
                    f"fit: {name} of a {kind} is {array.dtype}; it must be {dtype}, as the model's parameters"
                )
    loss.check()


def made_for(optimizer: Optimizer, loss: Loss, width: int) -> tuple[Any, ...]:
    """What an engine's buffers and addresses are of, beside the model: its rule, and the loss's kernels."""
    return type(optimizer), *loss.pair_for(width), loss.score.kernel, loss.kept_rows


def check_rows(caller: str, data: Dataset, features: int | None = None) -> None:
    """Refuse features that a kernel cannot gather, or others than so many in a row. Error: ValueError."""
    if not isinstance(data, Dataset):
        raise TypeError(f"{caller}: data is {type(data).__name__}; it must be a fastmlp.data.Dataset")
    x, y = data.features, data.targets
    other = isinstance(x, Sparse | Shards)  # in order since it was made; that a file ends too soon, its reader says
    if not other and (not isinstance(x, np.ndarray) or x.dtype not in kernels.GATHER or x.ndim < 2 or not x.size):
        what = f"{x.shape} {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"{caller}: data.features is {what}; it must be (N, ...) uint8, float32 or float64: {REMEDY}")
    if not other and not (x.flags.c_contiguous and x.flags.aligned):
        raise ValueError(f"{caller}: data.features is not contiguous; {REMEDY}, which copies it")
    if not isinstance(y, np.ndarray) or not y.shape or len(y) != len(x):
        rows = len(y) if isinstance(y, np.ndarray) and y.shape else "no"
        raise ValueError(f"{caller}: data has {len(x)} rows of features and {rows} targets; they must be as many")
    if features is not None and data.n_features != features:
        raise ValueError(f"{caller}: data has {data.n_features} features; the model's in_features is {features}")
    if not (is_number(data.scale) and data.scale > 0):
        raise ValueError(f"{caller}: data.scale is {shown(data.scale)}; it must be a finite number above 0")
    if not other and (there := _bytes_there(x)) is not None and there < x.nbytes:
        raise ValueError(f"{caller}: the file of data.features has {there} of {x.nbytes} bytes left; it has shrunk")


def check_targets(caller: str, loss: Loss, data: Dataset, outputs: int | None, what: str = "data") -> None:
    """Refuse targets that the loss does not take, or that a model with so many outputs has no place for.

    what: the argument that `data` is.
    """
    y = data.targets
    if not isinstance(y, np.ndarray) or y.dtype not in (np.int64, np.float64) or not y.flags.c_contiguous:
        given = str(y.dtype) if isinstance(y, np.ndarray) else type(y).__name__
        raise ValueError(f"{caller}: {what}.targets is {given}; it must be int64 or float64, contiguous: {REMEDY}")
    if (data.kind == "classes") != (y.dtype == np.int64):
        given = "classes" if y.dtype == np.int64 else "numbers"
        raise ValueError(f"{caller}: {what} has {given} as targets, and its kind is {data.kind}; {REMEDY}")
    check_kind(caller, loss, data, what)
    if data.kind == "classes":
        if y.ndim != 1:
            raise ValueError(f"{caller}: {what}.labels is {y.shape}; it must be (N,)")
        lowest, highest = int(y.min()), int(y.max())
        if lowest < 0:
            raise ValueError(f"{caller}: {what} has the label {lowest}; a label is at least 0")
        if outputs is not None and highest >= outputs:
            advice = ': Dataset(..., kind="numbers") takes them as numbers' * (outputs == 1)
            raise ValueError(
                f"{caller}: {what} has the label {highest}; the model's labels are 0 .. {outputs - 1}{advice}"
            )
        if not isinstance(data.classes, int | np.integer) or highest >= data.classes:
            raise ValueError(f"{caller}: {what} has the label {highest}; its classes are {shown(data.classes)}")
    else:
        if y.ndim > 2:
            raise ValueError(f"{caller}: {what}.targets is {y.shape}; it must be (N,) or (N, T)")
        if not np.isfinite(y).all():
            raise ValueError(f"{caller}: {what}.targets are not all finite")
        if data.kind == "probabilities" and y.size // len(data) < 2:  # a kernel would take one column for classes
            raise ValueError(f"{caller}: {what}.targets is {y.shape}; probabilities are (N, C), C at least 2")
        wanted = loss.outputs(0, width := y.size // len(data))
        if outputs is not None and wanted != outputs:
            more = f", for which {type(loss).__name__} needs {wanted} outputs" if wanted != width else ""
            some = f"{width} targets a row{more}"
            advice = ""
            if data.kind == "numbers" and data.has_whole_targets():
                advice = ': Dataset(..., kind="classes") takes whole numbers for classes'
            raise ValueError(f"{caller}: {what} has {some}; the model has {outputs} outputs{advice}")
    loss.check_targets(f"{caller}: {what}", y.reshape(len(y), -1), outputs)
    if data.sample_weight is not None:
        check_takes_weights(f"{caller}: {what} has weights of its rows", loss)


def check_takes_weights(what: str, loss: Loss) -> None:
    """Refuse a loss that knows nothing of weights. Error: ValueError."""
    if not loss.takes_weights():
        raise ValueError(f"{what}; the forward of {type(loss).__name__} has no argument sample_weight to take them")


def weights_of(caller: str, data: Dataset, given: Array | None = None) -> tuple[Array | None, Array | None]:
    """(what each row counts in the loss: `given`, else the data's `sample_weight`; what it counts in the score)."""
    own = data.sample_weight
    found = []
    for name, weight in (("weights", own if given is None else given), ("data.sample_weight", own)):
        found.append(None if weight is None else row_weights(f"{caller}: {name}", weight, len(data)))
    return found[0], found[1]


def kinds_of(loss: Loss) -> tuple[str, ...]:
    """The kinds of targets that a loss takes."""
    return (loss.targets,) if isinstance(loss.targets, str) else tuple(loss.targets)


def check_kind(caller: str, loss: Loss, data: Dataset, what: str = "data") -> None:
    """Refuse targets of a kind that the loss does not take, and say which kind they may be named."""
    kinds = kinds_of(loss)
    if data.kind not in kinds:
        takes = f"{type(loss).__name__} takes {' or '.join(kinds)}"
        raise ValueError(f"{caller}: {what} has {data.kind} as targets; {takes}{_way_on(data, kinds)}")


def _way_on(data: Dataset, kinds: tuple[str, ...]) -> str:
    """What else these targets may be taken for, of the kinds that a loss takes."""
    t = data.targets
    if "classes" in kinds and t.ndim == 2 and ((t == 0) | (t == 1)).all() and (t.sum(axis=1) == 1).all():
        return ": targets.argmax(axis=1) are the classes of one-hot rows"
    for kind in kinds:
        try:
            data.as_kind(kind)
        except ValueError:
            continue
        return f': Dataset(..., kind="{kind}") takes them as {kind}'
    return ""


def batch_bounds(sizes: list[int], rows: int, room: int) -> Array:
    """Where batches of these sizes begin and end in an order of `rows` rows. Error: ValueError for others than fit."""
    given = np.asarray(sizes)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not given.size or given.min() < 1 or given.max() > room:
        raise ValueError(f"Engine: sizes must be whole numbers in 1 .. {room}, the rows that it has room for")
    if given.sum() != rows:
        raise ValueError(f"Engine: sizes add up to {given.sum()} rows; order has {rows}")
    return np.concatenate([[0], np.cumsum(given)]).astype(np.int64)


def _bytes_there(x: Array) -> int | None:
    """How many bytes of an array its memory-mapped file has from where the array begins; None for another array."""
    base: Any = x
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap):
        return None
    try:
        size = base.size()  # of the file, as it is now
    except (OSError, ValueError):  # a map of no file, or a closed one
        return None
    begin = np.frombuffer(base, np.uint8, 1).__array_interface__["data"][0]
    return int(size - (x.__array_interface__["data"][0] - begin))
