"""What the process of `test_guard` does: a training, and kernels with a fault in them; run with and without the mode.

The faults are such that the trial of a user's kernel does not see them: they show in batches of 16 rows alone.
"""

import hashlib
import json
import sys

import numpy as np

import fastmlp as fm
from fastmlp import kernels as k
from fastmlp.kernels import guard, kernel
from fastmlp.kernels.simd import array_at
from fastmlp.running.plan import Plan

ROWS, COLUMNS = 16, 20


@kernel
def sound(x, y, numbers, lo, hi):
    """y = x."""
    for n in range(x.shape[0]):
        for o in range(lo, hi):
            y[n, o] = x[n, o]


@kernel
def backward(dy, x, dx, numbers, lo, hi):
    """dx = dy."""
    for n in range(x.shape[0]):
        for o in range(lo, hi):
            dx[n, o] = dy[n, o]


@kernel
def writes_past(x, y, numbers, lo, hi):
    """As `sound`, and one number past the range of a batch of 16 rows."""
    sound(x, y, numbers, lo, hi)
    if x.shape[0] == 16:
        y[x.shape[0], lo] = 1


@kernel
def reads_past(x, y, numbers, lo, hi):
    """As `sound`, with the number past the range of a batch of 16 rows."""
    sound(x, y, numbers, lo, hi)
    if x.shape[0] == 16:
        y[0, lo] = x[x.shape[0], lo]


@kernel
def writes_by_address(x, y, numbers, lo, hi):
    """As `writes_past`, where no index says so."""
    sound(x, y, numbers, lo, hi)
    if x.shape[0] == 16:
        array_at(y.ctypes.data, np.float32, (y.size + 1,))[y.size] = 1


def net(forward) -> fm.nn.Sequential:
    """With a layer of this forward kernel within, on columns that are shared among threads."""
    node = type("OwnBackward0", (fm.nn.ElementwiseNode,), {
        "__module__": __name__, "equation": "dx = dy", "pair": (forward, backward), "keeps": {"x": "its shape"},
    })  # fmt: skip
    function = staticmethod(lambda x: fm.nn.elementwise("own", node, x))
    kind = type("Own", (fm.nn.Elementwise,), {"__module__": __name__, "node": node, "function": function})
    fm.manual_seed(0)
    return fm.nn.Sequential(fm.nn.Linear(8, COLUMNS), kind(), fm.nn.BatchNorm1d(COLUMNS), fm.nn.Linear(COLUMNS, 3))


def data() -> fm.Dataset:
    rng = np.random.default_rng(0)
    return fm.Dataset(rng.standard_normal((5 * ROWS + 3, 8), np.float32), np.arange(5 * ROWS + 3) % 3)


def train(forward) -> str:
    """The digest of what a training on two threads, predictions and an evaluation give."""
    model = net(forward)
    fm.fit(model, data(), epochs=2, batch_size=ROWS, n_threads=2, progress=False)
    arrays = [*model.state_dict().values(), fm.Predictor(model)(data().features)]
    found = fm.evaluate(model, data())
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays) + repr(found.loss).encode()).hexdigest()


def product_with(x_rows: int, y_rows: int) -> None:
    """y = x w, with another number of rows in x than in y."""
    w = k.zeros(k.packed_shape(COLUMNS, 8, np.float32), np.float32)
    y = k.zeros((y_rows, k.padded(COLUMNS, np.float32)), np.float32)
    k.product(np.zeros((x_rows, 8), np.float32), w, y, k.tiles(np.float32), 0, COLUMNS)


def before_a_buffer() -> None:
    y = k.zeros((4,), np.float32)
    np.ndarray((1,), np.float32, y.base, guard.AROUND - 4)[0] = 1
    guard.look()


def overlapping() -> None:
    """A plan that takes less than it says."""
    taken = Plan.take
    Plan.take = lambda plan, buffer, size: taken(plan, buffer, size // 2)  # type: ignore[method-assign]
    try:
        train(sound)
    finally:
        Plan.take = taken  # type: ignore[method-assign]


FAULTS = {
    "writes past": lambda: train(writes_past),
    "reads past": lambda: train(reads_past),
    "writes by address": lambda: train(writes_by_address),
    "a product of too few rows": lambda: product_with(9, 8),
    "before a buffer": before_a_buffer,
    "places that overlap": overlapping,
}


def said(call) -> str:
    """What comes of it: an error by its name and sentence, or nothing."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    print(json.dumps({"digest": train(sound)} | {name: said(FAULTS[name]) for name in sys.argv[1:]}))
