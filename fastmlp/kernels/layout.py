"""What the loop is told: a layer's row of the plan, a parameter's, and tuples of buffers and addresses."""

from typing import Any, NamedTuple

import numpy as np

ELEMENTWISE, RANDOM, NORM, LINEAR = range(4)  # the forms of layers

# A layer's row of the plan. Addresses are of compiled kernels, 0 for none; places count numbers in the flat buffers.
ROW = np.dtype(
    [
        (name, np.int64)
        for name in (
            "form",  # which of the forms above
            "forward", "evaluate", "backward", "weights",  # addresses; for LINEAR: of y, y, dx, dw with the update
            "bias_update",  # address, LINEAR alone
            "inputs", "columns",  # of the input and the output, without padding
            "width_in", "width",  # with padding
            "x", "y", "dx", "dy",  # places of matrices (rows, width); x is -1 for the batch
            "keeps_x",  # 1 where the backward of an elementwise kind takes x, 0 where it takes y
            "weight", "bias",  # places of the parameters: a packed weight and its bias, or one row after the other
            "parameters",  # how many parameters, in the order of their slots from `slot` on
            "slot",
            "weight_rows",  # of a NORM: as many, or more where numbers stand in for parameters that are left out
            "state", "state_rows", "state_width",  # place and shape of the state of a NORM
            "dweights",  # place of its parameters' gradients, in the same buffer
            "tied",  # address of the sum over columns, where a parameter is one number for all; else 0
            "seed", "step", "layer",  # the counters of RANDOM
            "by_rows",  # 1 where a thread owns rows of the layer, 0 where it owns columns
            "waits", "waits_back",  # 1 where the forward, the backward must wait for the other threads
            "sends",  # 1 where its backward is to be computed
            "trains",  # 1 where one of its parameters is trained
        )
    ]
)  # fmt: skip
# What the passes over all parameters know of one.
SLOT = np.dtype(
    [
        (name, np.int64)
        for name in (
            "trained",  # 0 where it is frozen
            "at",  # its place in the flat buffers
            "width", "inputs",  # columns with padding, numbers a column: 1 for a vector
            "columns", "first",  # how many columns count in the norm of all gradients, and where in `squares`
        )
    ]
)  # fmt: skip


class Net(NamedTuple):
    """What does not change while a model trains.

    plan: (layers,) ROW   numbers: (layers, n) float64   slots: (parameters,) SLOT
    """

    plan: Any
    numbers: Any
    slots: Any
    lanes: int
    tiles: Any


class Batches(NamedTuple):
    """Where rows come from.

    gather   address of the kernel that makes x of them      source   (address, rows, columns, bytes a row)
    distinct address of the one that leaves out columns which are 0 in all rows of a batch; 0 where rows are not sparse
    scale    what features are multiplied by                 targets  (rows, T) float64
    weights  (rows, 3) float64, what a row counts: its loss, in the divisor of the mean, its score; (0, 3) where all 1
    order    row numbers; batch s is order[bounds[s] : bounds[s + 1]]
    """

    gather: int
    distinct: int
    source: Any
    scale: float
    targets: Any
    weights: Any
    order: Any
    bounds: Any


class Loss(NamedTuple):
    """Addresses of the pair and the score, and their numbers.

    kept_rows: what the backward needs is as many times the rows of a batch.

    factor: 0 for the mean; else what the rows' losses are multiplied by in the sum.
    """

    forward: int
    backward: int
    score: int
    numbers: Any
    score_numbers: Any
    kept_rows: int
    factor: float


class Rule(NamedTuple):
    """scale, update: addresses.   option: (steps or 1, slots, n) float64   counts: (slots,) steps so far

    option[0] is of the step `first`, option[s, slot, 0] the learning rate; one row is of all steps
    owed: address of what makes up for steps of the first layer's weights, 0 where each step changes all, -1 where
    a step changes those of the batch's inputs and nothing is owed; table: see `kernels.owed`, of all steps of the epoch
    """

    scale: int
    update: int
    option: Any
    first: int
    counts: Any
    owed: int
    table: Any


class Clip(NamedTuple):
    """on: whether gradients are kept whole, by the rule `keep`, before they are used.

    norm: the largest of all gradients together, infinity for any.   squares: (columns of all,) float64
    squares_at, step_at: addresses of the two passes, 0 where it is off: who does not clip compiles neither
    """

    on: bool
    keep: Rule
    norm: float
    squares: Any
    squares_at: int
    step_at: int


class Average(NamedTuple):
    """weights: (steps,), how far the average goes after each step; (0,) for none.   a: flat, as p

    at: address of the pass, 0 for none
    """

    weights: Any
    a: Any
    at: int


class Buffers(NamedTuple):
    """Flat buffers: parameters p, their gradients g where they are kept, the rule's state m, v, u, layers' state, and
    activations and their gradients. `kept` is the layers' state as it was before the step.
    terms: (3, room) float64, of the rows of a batch; the last are 1 where a score is no ratio
    """

    p: Any
    g: Any
    m: Any
    v: Any
    u: Any
    state: Any
    kept: Any
    act: Any
    dact: Any
    terms: Any


class Own(NamedTuple):
    """What each thread has of its own, the first index: its batch x (gathering it twice costs less than fetching half
    of it from the other core), and where it computes.

    targets (threads, room, T)   r (threads, room) the share of each row   kept: what the loss's backward needs
    scales (threads, slots, SCALES) float64
    bits, square, lists: of what is not zero in the batch, see `lists`; none: NO_LISTS, for layers that have none
    marks, columns: of sparse rows, see `sparse.gather_distinct`   seen: how far each input's weights have come, `owed`
    """

    x: Any
    kept: Any
    scratch: Any
    pieces: Any
    targets: Any
    r: Any
    scales: Any
    bits: Any
    square: Any
    lists: Any
    none: Any
    marks: Any
    columns: Any
    seen: Any
