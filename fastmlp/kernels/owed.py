"""Steps that are owed: what a rule would have done meanwhile to the weights of an input that no row of a batch had.

The gradient of such weights is +0. They are left alone, and their steps are made up for when the input comes again or
somebody looks: the operations of `updates` in their order, so the bits are those of the rule that sweeps all weights
in every step. A kernel of the form "owed" takes:

    p, m, v, u, at, inputs   a packed weight (blocks, inputs, lanes) from p[at] on, its state at the same places: input
                             i has the `lanes` numbers from at + (j inputs + i) lanes on in block j
    touched, count           the first `count` of these inputs are brought up to date
    seen, now                (inputs,): steps seen[i] ... now - 1 of the epoch are owed. Who calls sets seen afterwards,
                             since other threads read it, for columns of their own
    table, option            what `owed_table` made for the steps of the epoch, from these options
    lanes, lo, hi            columns [lo, hi), as `linear_update_weight` takes them

Numbers below the smallest normal one are flushed to zero, as in every run of a kernel.

When does p stop for the rest of an epoch? The step of Adam is α m / (√v + ε̂), and without a gradient from step k to
k + 1 it is multiplied by at most

    ρ = α' / α  β₁  max(1 / √β₂, ε̂ / ε̂')  / |s'|        s the factor of AdamW's decay, which p is multiplied by: `lift`

`lift` of step k is how large a later step may be, for a step of 1. A p of more than 8 lift |step| / eps, eps the
spacing at 1, is twice too large for a later step to change it. What flushes adds to |step|: a product α m below the
smallest normal number counts as 0 and may be more when α has grown, and √v may fall to 0 at once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import inner, kernel
from .simd import prefetch, view
from .updates import SCALES

LIFT, REACH = SCALES, SCALES + 1  # rows of the table: the lift; below which |m| no step can leave the range of numbers
SLACK = 1 + 2.0**-20  # more than the roundings of one step can add to ρ


def owed_table(scale: Any, lift: Any, options: NDArray[Any], made: int, steps: int) -> NDArray[Any]:
    """(SCALES + 2, steps) float64: column s has what `scale` gives for step s of an epoch, and what `lift` adds to it.

    options: (steps or 1, n), of each step or of all; made: how many steps the parameter had made before.
    """
    table, numbers = np.zeros((SCALES + 2, steps)), np.zeros(SCALES)
    for s in range(steps):
        option = options[min(s, len(options) - 1)]
        scale(option, option[0], made + s + 1, numbers)
        table[:SCALES, s] = numbers
    if steps:
        lift(options[0], table)
    return table


@inner
def ask_for(p, m, v, start, stride, blocks):
    """Ask for the cache lines of an input's numbers, `stride` apart from block to block."""
    for at in range(start, start + blocks * stride, stride):
        prefetch(p, at)
        prefetch(m, at)
        prefetch(v, at)


@inner
def lift_of(b1, b2, beside, table):
    """Fill the last two rows of the table of Adam; beside: λ of AdamW's decay, or 0."""
    alpha, eps_hat, rate, ahead, steps = table[0], table[1], table[2], 0.0, table.shape[1]
    for k in range(steps - 1, -1, -1):
        if k + 1 < steps:
            grows = max(1 / np.sqrt(b2), eps_hat[k] / eps_hat[k + 1]) / abs(1 - rate[k + 1] * beside)
            ahead = alpha[k + 1] / alpha[k] * b1 * grows * SLACK * max(1.0, ahead)
            ahead = ahead if ahead == ahead else np.inf
        table[LIFT, k] = SLACK * max(1.0, ahead)
    table[REACH] = 2.0**100 * min(1.0, eps_hat.min()) / (steps * max(1e-30, alpha.max()))


@kernel
def adam_lift(option, table):
    """The last two rows of a table for Adam."""
    lift_of(option[1], option[2], 0.0, table)


@kernel
def adamw_lift(option, table):
    """The last two rows of a table for AdamW."""
    lift_of(option[1], option[2], option[4], table)


@inner
def adam_step(p, m, v, g, scales, h):
    """(p, m, v, what p loses) after the step of `adam_update`, or of `adamw_update`.    h: (β₁, 1 - β₁, β₂, 1 - β₂)"""
    (alpha, eps_hat, shrink), (b1, c1, b2, c2) = scales, h
    m, v = b1 * m + c1 * g, b2 * v + c2 * g * g
    step = alpha * m / (np.sqrt(v) + eps_hat)
    return p * shrink - step, m, v, step


@inner
def adam_scales(table, t, beside, zero):
    """(α, ε̂, factor of AdamW's decay) of step t, of the type of `zero`: cast as `update` casts them."""
    number = type(zero)
    return number(table[0, t]), number(table[1, t]), number(1 - table[2, t] * beside)


@inner
def adam_one(p, m, v, s, decay, h):
    """One step; g = 0 + λp."""
    zero = p.dtype.type(0)
    for j in range(p.size):
        p[j], m[j], v[j], _ = adam_step(p[j], m[j], v[j], zero + decay * p[j], s, h)


@inner
def adam_four_chained(p, m, v, s0, s1, s2, s3, decay, h):
    """Four steps in registers; g = 0 + λp, so that each waits for the one before."""
    zero = p.dtype.type(0)
    for j in range(p.size):
        pj, mj, vj, _ = adam_step(p[j], m[j], v[j], zero + decay * p[j], s0, h)
        pj, mj, vj, _ = adam_step(pj, mj, vj, zero + decay * pj, s1, h)
        pj, mj, vj, _ = adam_step(pj, mj, vj, zero + decay * pj, s2, h)
        p[j], m[j], v[j], _ = adam_step(pj, mj, vj, zero + decay * pj, s3, h)


@inner
def adam_four(p, m, v, s0, s1, s2, s3, h, least, lift):
    """Four steps in registers, with g = 0; whether a later one may change p."""
    zero, moves = p.dtype.type(0), False
    for j in range(p.size):
        pj, mj, vj, step = adam_step(p[j], m[j], v[j], zero, s0, h)
        pj, mj, vj, step = adam_step(pj, mj, vj, zero, s1, h)
        pj, mj, vj, step = adam_step(pj, mj, vj, zero, s2, h)
        pj, mj, vj, step = adam_step(pj, mj, vj, zero, s3, h)
        p[j], m[j], v[j] = pj, mj, vj
        moves |= not (((abs(step) + least) * lift <= abs(pj)) | (mj == 0))
    return moves


@inner
def adam_chained(p, m, v, start, stride, blocks, lanes, begin, now, table, decay, h):
    """Steps begin ... now - 1 where each depends on the one before: a block after the other, as chains may overlap."""
    zero, odd, end = p.dtype.type(0), begin + (now - begin) % 4, start + blocks * stride
    for t in range(begin, odd):
        s = adam_scales(table, t, 0.0, zero)
        for at in range(start, end, stride):
            adam_one(view(p, at, (lanes,)), view(m, at, (lanes,)), view(v, at, (lanes,)), s, decay, h)
    for t in range(odd, now, 4):
        s0, s1 = adam_scales(table, t, 0.0, zero), adam_scales(table, t + 1, 0.0, zero)
        s2, s3 = adam_scales(table, t + 2, 0.0, zero), adam_scales(table, t + 3, 0.0, zero)
        for at in range(start, end, stride):
            adam_four_chained(
                view(p, at, (lanes,)), view(m, at, (lanes,)), view(v, at, (lanes,)), s0, s1, s2, s3, decay, h
            )  # fmt: skip


@inner
def adam_free(p, m, v, begin, now, table, beside, tame, h):
    """Steps begin ... now - 1 with g = 0. tame: p may stop, since all numbers are finite and stay so.

    One step before all else: it makes zeros of what is flushed, and +0 of a -0 where the rule does.
    """
    one, zero, t = p.dtype.type(1), p.dtype.type(0), begin + 1
    eps = one / (1 << 23 if p.itemsize == 4 else 1 << 52)
    tiny = p.dtype.type(2.0**-126 if p.itemsize == 4 else 2.0**-1022)
    adam_one(p, m, v, adam_scales(table, begin, beside, zero), zero, h)
    moves = quiet_not(m) or not tame
    if not moves and beside == 0 and not quiet_not(v):
        return
    while (now - t) % 4 > 0:
        adam_one(p, m, v, adam_scales(table, t, beside, zero), zero, h)
        t += 1
    while t < now and moves:
        s0, s1 = adam_scales(table, t, beside, zero), adam_scales(table, t + 1, beside, zero)
        s2, s3 = adam_scales(table, t + 2, beside, zero), adam_scales(table, t + 3, beside, zero)
        share = one / s3[1]
        lift = 8 / eps * p.dtype.type(table[LIFT, t + 3]) * (one + np.sqrt(tiny) * share)
        moves = adam_four(p, m, v, s0, s1, s2, s3, h, tiny + tiny * share, lift) or not tame
        t += 4
    if beside != 0:
        for k in range(t, now, 4):
            s0, s1 = adam_scales(table, k, beside, zero), adam_scales(table, k + 1, beside, zero)
            s2, s3 = adam_scales(table, k + 2, beside, zero), adam_scales(table, k + 3, beside, zero)
            fade_with_decay(p, m, v, s0[2], s1[2], s2[2], s3[2], h)
    else:
        fade(m, v, now - t, h)


@inner
def quiet_not(x):
    """Whether a number is not 0."""
    found = False
    for j in range(x.size):
        found |= x[j] != 0
    return found


@inner
def fade_with_decay(p, m, v, s0, s1, s2, s3, h):
    """Four steps of AdamW where p stands still but for the decay. m * 0 has the sign of the step, for a p of 0."""
    (b1, c1, b2, _), zero = h, p.dtype.type(0)
    for j in range(p.size):
        pj, mj, vj = p[j], m[j], v[j]
        mj, vj = b1 * mj + c1 * zero, b2 * vj
        pj = pj * s0 - mj * zero
        mj, vj = b1 * mj + c1 * zero, b2 * vj
        pj = pj * s1 - mj * zero
        mj, vj = b1 * mj + c1 * zero, b2 * vj
        pj = pj * s2 - mj * zero
        mj, vj = b1 * mj + c1 * zero, b2 * vj
        pj = pj * s3 - mj * zero
        p[j], m[j], v[j] = pj, mj, vj


@inner
def fade(m, v, steps, h):
    """m ← β₁m + 0,  v ← β₂v  so many times, a multiple of four: while p stands still. No v is -0 after a step."""
    b1, c1, b2, _ = h
    term = c1 * m.dtype.type(0)
    alive = True
    while steps > 0 and alive:
        alive = False
        for j in range(m.size):
            mj, vj = m[j], v[j]
            for _ in range(4):
                mj, vj = b1 * mj + term, b2 * vj
            m[j], v[j] = mj, vj
            alive |= mj != 0
        steps -= 4
    alive = True
    while steps > 0 and alive:
        alive = False
        for j in range(v.size):
            vj = v[j]
            for _ in range(4):
                vj = b2 * vj
            v[j] = vj
            alive |= vj != 0
        steps -= 4


@inner
def is_tame(p, m, v, reach):
    """Whether all numbers are finite, and so small that no step makes one that is not."""
    large = p.dtype.type(2.0**100)
    wild = False
    for j in range(p.size):
        wild |= not ((abs(p[j]) < large) & (abs(m[j]) < reach) & (v[j] < large))
    return not wild


@inner
def adam_replay(p, m, v, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi, coupled):
    """What both rules owe; coupled: λ is in the gradient, and not a factor of p."""
    number = p.dtype.type
    sign = number(-1 if option[6] != 0 else 1)
    h = number(option[1]), sign * number(1 - option[1]), number(option[2]), number(1 - option[2])
    decay, beside = (sign * number(option[4]), 0.0) if coupled else (number(0), option[4])
    blocks, stride, origin = (hi - lo + lanes - 1) // lanes, inputs * lanes, at + lo * inputs
    for n in range(count):
        i = touched[n]
        start, begin = origin + i * lanes, seen[i]
        if n + 1 < count:
            ask_for(p, m, v, origin + touched[n + 1] * lanes, stride, blocks)
        if begin < now and decay != 0:
            adam_chained(p, m, v, start, stride, blocks, lanes, begin, now, table, decay, h)
        elif begin < now:
            for first in range(start, start + blocks * stride, stride):
                pj, mj, vj = view(p, first, (lanes,)), view(m, first, (lanes,)), view(v, first, (lanes,))
                tame = is_tame(pj, mj, vj, number(table[REACH, begin]))
                if tame or not coupled:
                    adam_free(pj, mj, vj, begin, now, table, beside, tame, h)
                else:  # 0 p is NaN where p is not finite
                    adam_chained(p, m, v, first, stride, 1, lanes, begin, now, table, decay, h)


@kernel
def adam_owed(p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi):
    """What `adam_update` would have done, without amsgrad."""
    adam_replay(p, m, v, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi, True)


@kernel
def adamw_owed(p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi):
    """What `adamw_update` would have done, without amsgrad."""
    adam_replay(p, m, v, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi, False)
