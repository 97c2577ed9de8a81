"""Clipping: gradients are held within bounds before the rule sees them.

    by value   each number of g into [-x, x]
    by norm    g ← g min(1, most / (‖g‖ + 1e-6)),  ‖g‖ over the gradients of all parameters together

Where a gradient is clipped, dw is kept whole: `keep_gradient` stands in the place of the rule while gradients are made,
and the rule's step is a pass of its own. A norm crosses all columns. So that it is the same to the last bit whoever
made which, it is first a number a column, Σ g², and then these in their order, both in float64.
"""

import numpy as np

from .jit import inner, kernel
from .simd import view
from .threads import share
from .updates import prepare, step

ROUND = 1e-6  # what PyTorch adds to the norm


@kernel
def keep_scale(option, lr, t, scale):
    """Nothing: a gradient is kept as it is."""


@kernel
def keep_gradient(p, g, m, v, u, option, scale):
    """m = g, each number brought into [-option[0], option[0]]; NaN stays NaN. It has the form of a rule."""
    most = p.dtype.type(option[0])
    for i in range(g.size):
        m[i] = most if g[i] > most else -most if g[i] < -most else g[i]


@inner
def column_squares(g, at, inputs, lanes, squares, lo, hi):
    """squares[o] = Σᵢ g[o, i]²  for the columns [lo, hi) of a packed gradient, which lies in g from `at` on.

    A vector is a weight of one input. lo is a multiple of lanes.
    """
    for o in range(lo, hi, lanes):
        total = squares[o : min(o + lanes, hi)]
        for lane in range(total.size):
            total[lane] = 0
        for i in range(inputs):
            row = view(g, at + o * inputs + i * lanes, (total.size,))
            for lane in range(total.size):
                total[lane] += np.float64(row[lane]) * np.float64(row[lane])


@kernel
def row_squares(g, squares):
    """squares[o] = Σᵢ g[o, i]²  of a gradient as people see it, (columns, inputs)."""
    for o in range(g.shape[0]):
        total = 0.0
        for i in range(g.shape[1]):
            total += np.float64(g[o, i]) * np.float64(g[o, i])
        squares[o] = total


@kernel
def total_norm(squares):
    """‖g‖ = √(Σ squares), in their order."""
    total = 0.0
    for o in range(squares.size):
        total += squares[o]
    return np.sqrt(total)


@kernel
def clip_factor(norm, most):
    """min(1, most / (norm + 1e-6)); NaN where the norm is NaN, 0 where it is infinite, as in PyTorch."""
    factor = most / (norm + ROUND)
    return 1.0 if factor > 1.0 else factor


@kernel
def keep_squares(net, clip, shared, own, threads, thread):
    """clip.squares: a number for each column of this thread."""
    for number in range(net.slots.shape[0]):
        slot = net.slots[number]
        if slot.trained:
            lo, hi = share(slot.width, net.lanes, threads, thread)
            squares = clip.squares[slot.first :]
            column_squares(shared.g, slot.at, slot.inputs, net.lanes, squares, lo, min(hi, slot.columns))


@kernel
def step_on_kept(net, rule, clip, shared, own, step_number, threads, thread):
    """The rule's step on each parameter with the gradients that are kept, times the factor of all of them."""
    factor = clip_factor(total_norm(clip.squares), clip.norm) if clip.norm < np.inf else 1.0
    for number in range(net.slots.shape[0]):
        slot = net.slots[number]
        if not slot.trained:
            continue
        lo, hi = share(slot.width, net.lanes, threads, thread)
        at, size = slot.at + lo * slot.inputs, (hi - lo) * slot.inputs
        piece, small = view(shared.g, at, (size,)), shared.g.dtype.type(factor)
        for i in range(size):
            piece[i] *= small
        option, scale = prepare(rule, number, step_number, own.scales[thread])
        step(rule.update, shared.p, shared.g, at, shared.m, shared.v, shared.u, at, size, option, scale)
