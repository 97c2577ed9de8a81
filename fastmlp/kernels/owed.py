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
from .simd import VECTOR_BYTES, prefetch, view
from .updates import SCALES

LIFT, REACH = SCALES, SCALES + 1  # rows of the table: the lift; below which |m| no step can leave the range of numbers
SLACK = 1 + 2.0**-20  # more than the roundings of one step can add to ρ


def owed_table(scale: Any, lift: Any, options: NDArray[Any], made: int, steps: int) -> NDArray[Any]:
    """(SCALES + 2, steps) float64: column s has what `scale` gives for step s of an epoch, and what `lift` adds to it.

    options: (steps or 1, n), of each step or of all; made: how many steps the parameter had made before. lift may be
    None, as for SGD.
    """
    table, numbers = np.zeros((SCALES + 2, steps)), np.zeros(SCALES)
    for s in range(steps):
        option = options[min(s, len(options) - 1)]
        scale(option, option[0], made + s + 1, numbers)
        table[:SCALES, s] = numbers
    if steps and lift is not None:
        lift(options[0], table)
    return table


@inner
def vector(x, lanes):
    """lanes: as a number that LLVM knows where that is 16, since it takes shorter loops apart and makes no vectors."""
    return 16 if VECTOR_BYTES == 64 and x.dtype.type(2.0**-200) == 0 else lanes


@inner
def row_of(at, inputs, lanes, lo, hi, i):
    """(start, end, stride, lanes) of the numbers of input i in the blocks of the columns [lo, hi)."""
    stride, start = inputs * lanes, at + lo * inputs + i * lanes
    return start, start + (hi - lo + lanes - 1) // lanes * stride, stride, lanes


@inner
def ask_for(p, m, v, row):
    """Ask for the cache lines of an input's numbers."""
    start, end, stride, _ = row
    for at in range(start, end, stride):
        prefetch(p, at)
        prefetch(m, at)
        prefetch(v, at)


@inner
def any_is_not_0(x, row):
    """Whether one of an input's numbers is not 0."""
    (start, end, stride, lanes), found = row, False
    for at in range(start, end, stride):
        xj = view(x, at, (lanes,))
        for j in range(vector(x, lanes)):
            found |= xj[j] != 0
    return found


@inner
def are_tame(p, m, v, row, reach):
    """Whether all numbers of an input are finite, and so small that no step makes one that is not."""
    (start, end, stride, lanes), large, wild = row, p.dtype.type(2.0**100), False
    for at in range(start, end, stride):
        pj, mj, vj = view(p, at, (lanes,)), view(m, at, (lanes,)), view(v, at, (lanes,))
        for j in range(vector(p, lanes)):
            wild |= not ((abs(pj[j]) < large) & (abs(mj[j]) < reach) & (vj[j] < large))
    return not wild


@inner
def lift_of(b1, b2, beside, table):
    """Fill the last two rows of the table of Adam; beside: λ of AdamW's decay, or 0."""
    steps, ahead, least, most = table.shape[1], 0.0, 1.0, 1e-30
    for k in range(steps - 1, -1, -1):
        if k + 1 < steps:
            grows = max(1 / np.sqrt(b2), table[1, k] / table[1, k + 1]) / abs(1 - table[2, k + 1] * beside)
            ahead = table[0, k + 1] / table[0, k] * b1 * grows * SLACK * max(1.0, ahead)
            ahead = ahead if ahead == ahead else np.inf
        table[LIFT, k] = SLACK * max(1.0, ahead)
        least, most = min(least, table[1, k]), max(most, table[0, k])
    for k in range(steps):
        table[REACH, k] = 2.0**100 * least / (steps * most)


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
def adam_scales(table, t, beside, like):
    """(α, ε̂, factor of AdamW's decay) of step t, cast to the dtype of `like` as `update` casts them."""
    number = like.dtype.type
    return number(table[0, t]), number(table[1, t]), number(1 - table[2, t] * beside)


@inner
def adam_one(p, m, v, row, s, chained, decay, h):
    """One step; g = 0, or chained 0 + λp."""
    (start, end, stride, lanes), zero = row, p.dtype.type(0)
    for at in range(start, end, stride):
        pj, mj, vj = view(p, at, (lanes,)), view(m, at, (lanes,)), view(v, at, (lanes,))
        for j in range(vector(p, lanes)):
            g = zero + decay * pj[j] if chained else zero
            pj[j], mj[j], vj[j], _ = adam_step(pj[j], mj[j], vj[j], g, s, h)


@inner
def adam_four(p, m, v, row, s0, s1, s2, s3, h, least, lift):
    """Four steps in registers, with g = 0; whether a later one may change p."""
    (start, end, stride, lanes), zero, moves = row, p.dtype.type(0), False
    for at in range(start, end, stride):
        ps, ms, vs = view(p, at, (lanes,)), view(m, at, (lanes,)), view(v, at, (lanes,))
        for j in range(vector(p, lanes)):
            pj, mj, vj, step = adam_step(ps[j], ms[j], vs[j], zero, s0, h)
            pj, mj, vj, step = adam_step(pj, mj, vj, zero, s1, h)
            pj, mj, vj, step = adam_step(pj, mj, vj, zero, s2, h)
            pj, mj, vj, step = adam_step(pj, mj, vj, zero, s3, h)
            ps[j], ms[j], vs[j] = pj, mj, vj
            moves |= not (((abs(step) + least) * lift <= abs(pj)) | (mj == 0))
    return moves


@inner
def fade(m, v, row, h):
    """Four steps of m and v alone; whether an m is left. Only the last sum with 0 can change a sign, that of a 0."""
    (start, end, stride, lanes), (b1, c1, b2, c2), left = row, h, False
    to_m, to_v = c1 * m.dtype.type(0), c2 * m.dtype.type(0)
    for at in range(start, end, stride):
        ms, vs = view(m, at, (lanes,)), view(v, at, (lanes,))
        for j in range(vector(m, lanes)):
            mj = b1 * (b1 * (b1 * (b1 * ms[j]))) + to_m
            vs[j] = b2 * (b2 * (b2 * (b2 * vs[j]))) + to_v
            ms[j] = mj
            left |= mj != 0
    return left


@inner
def fade_v(v, row, h):
    """Sixteen steps of v alone; whether one is left."""
    (start, end, stride, lanes), (_, _, b2, c2), left = row, h, False
    to_v = c2 * v.dtype.type(0)
    for at in range(start, end, stride):
        vs = view(v, at, (lanes,))
        for j in range(vector(v, lanes)):
            vj = b2 * (b2 * (b2 * (b2 * (b2 * (b2 * (b2 * (b2 * vs[j])))))))
            vj = b2 * (b2 * (b2 * (b2 * (b2 * (b2 * (b2 * (b2 * vj))))))) + to_v
            vs[j] = vj
            left |= vj != 0
    return left


@inner
def fade_beside_decay(p, m, v, row, s0, s1, s2, s3, h):
    """Four steps of AdamW where p has only the decay left. m 0 has the sign of the step, which counts where p is 0."""
    (start, end, stride, lanes), (b1, c1, b2, c2), zero = row, h, p.dtype.type(0)
    for at in range(start, end, stride):
        ps, ms, vs = view(p, at, (lanes,)), view(m, at, (lanes,)), view(v, at, (lanes,))
        for j in range(vector(p, lanes)):
            m0 = b1 * ms[j] + c1 * zero
            m1 = b1 * m0 + c1 * zero
            m2 = b1 * m1 + c1 * zero
            m3 = b1 * m2 + c1 * zero
            p1 = (ps[j] * s0 - m0 * zero) * s1 - m1 * zero
            ps[j], ms[j] = (p1 * s2 - m2 * zero) * s3 - m3 * zero, m3
            vs[j] = b2 * (b2 * (b2 * (b2 * vs[j]))) + c2 * zero


@inner
def adam_chained(p, m, v, row, begin, now, table, decay, h):
    """Steps begin ... now - 1 where each needs the p of the one before; the chains of the blocks overlap."""
    for t in range(begin, now):
        adam_one(p, m, v, row, adam_scales(table, t, 0.0, p), True, decay, h)


@inner
def adam_free(p, m, v, row, begin, now, table, beside, tame, h):
    """Steps begin ... now - 1 with g = 0: while p may move, then what is left. An input that is not tame does not stop.

    One step before all else makes zeros of what is flushed, and +0 of a -0 where the rule does: with m = v = 0 nothing
    but a decay changes after it.
    """
    number, t = p.dtype.type, begin + 1
    one, narrow = number(1), number(2.0**-200) == 0
    eps, tiny = number(2.0**-23 if narrow else 2.0**-52), number(2.0**-126 if narrow else 2.0**-1022)
    adam_one(p, m, v, row, adam_scales(table, begin, beside, p), False, number(0), h)
    moves = not tame or any_is_not_0(m, row)
    if not moves and beside == 0 and not any_is_not_0(v, row):
        return
    while (now - t) % 4 > 0:
        adam_one(p, m, v, row, adam_scales(table, t, beside, p), False, number(0), h)
        t += 1
    while t < now and moves:
        s0, s1 = adam_scales(table, t, beside, p), adam_scales(table, t + 1, beside, p)
        s2, s3 = adam_scales(table, t + 2, beside, p), adam_scales(table, t + 3, beside, p)
        part = one / s3[1]
        lift = number(table[LIFT, t + 3] * 8) / eps * (one + np.sqrt(tiny) * part)
        moves = adam_four(p, m, v, row, s0, s1, s2, s3, h, tiny + tiny * part, lift) or not tame
        t += 4
    while t < now and beside != 0:
        s0, s1 = adam_scales(table, t, beside, p), adam_scales(table, t + 1, beside, p)
        s2, s3 = adam_scales(table, t + 2, beside, p), adam_scales(table, t + 3, beside, p)
        fade_beside_decay(p, m, v, row, s0[2], s1[2], s2[2], s3[2], h)
        t += 4
    left = True
    while t < now and (left or (now - t) % 16 > 0):
        left = fade(m, v, row, h)
        t += 4
    left = True
    while t < now and left:
        left = fade_v(v, row, h)
        t += 16


@inner
def adam_replay(p, m, v, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi, coupled):
    """What both rules owe; coupled: λ is in the gradient, and not a factor of p."""
    number = p.dtype.type
    sign = number(-1 if option[6] != 0 else 1)
    h = number(option[1]), sign * number(1 - option[1]), number(option[2]), number(1 - option[2])
    decay, beside = (sign * number(option[4]), 0.0) if coupled else (number(0), option[4])
    for n in range(count):
        i = touched[n]
        row, begin = row_of(at, inputs, lanes, lo, hi, i), seen[i]
        if n + 1 < count:
            ahead = row_of(at, inputs, lanes, lo, hi, touched[n + 1])
            ask_for(p, m, v, ahead)
        if begin < now:
            tame = decay == 0 and are_tame(p, m, v, row, number(table[REACH, begin]))
            if coupled and not tame:  # 0 p is NaN where p is not finite
                adam_chained(p, m, v, row, begin, now, table, decay, h)
            else:
                adam_free(p, m, v, row, begin, now, table, beside, tame, h)


@kernel
def adam_owed(p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi):
    """What `adam_update` would have done, without amsgrad."""
    adam_replay(p, m, v, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi, True)


@kernel
def adamw_owed(p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi):
    """What `adamw_update` would have done, without amsgrad."""
    adam_replay(p, m, v, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi, False)


# ---------------------------------------------------------------- SGD, which has little to do in a step: each is made


@inner
def sgd_first(p, b, row, lr, h, momentum):
    """A step without momentum, or with momentum the first: b = d."""
    (start, end, stride, lanes), (mu, _, decay, sign, nesterov), zero = row, h, p.dtype.type(0)
    rate = sign * lr
    for at in range(start, end, stride):
        ps = view(p, at, (lanes,))
        if momentum:
            bs = view(b, at, (lanes,))
            for j in range(vector(p, lanes)):
                bs[j] = sign * (zero + decay * ps[j])
        for j in range(vector(p, lanes)):
            d = zero + decay * ps[j]
            ps[j] -= rate * (d + mu * d if nesterov else d)


@inner
def sgd_steps(p, b, row, table, t, count, h):
    """Steps t ... t + count - 1 with momentum, 1 or 4 of them; whether a b is left."""
    (start, end, stride, lanes), (mu, keep, decay, sign, nesterov), left = row, h, False
    number, zero = p.dtype.type, p.dtype.type(0)
    lr0, lr1, lr2, lr3 = number(table[0, t]), zero, zero, zero
    if count == 4:
        lr1, lr2, lr3 = number(table[0, t + 1]), number(table[0, t + 2]), number(table[0, t + 3])
    for at in range(start, end, stride):
        ps, bs = view(p, at, (lanes,)), view(b, at, (lanes,))
        if nesterov:
            for j in range(vector(p, lanes)):
                pj, bj = sgd_nesterov(ps[j], bs[j], sign * lr0, mu, keep, decay, sign * mu, zero)
                if count == 4:
                    pj, bj = sgd_nesterov(pj, bj, sign * lr1, mu, keep, decay, sign * mu, zero)
                    pj, bj = sgd_nesterov(pj, bj, sign * lr2, mu, keep, decay, sign * mu, zero)
                    pj, bj = sgd_nesterov(pj, bj, sign * lr3, mu, keep, decay, sign * mu, zero)
                ps[j], bs[j] = pj, bj
                left |= bj != 0
        else:
            for j in range(vector(p, lanes)):
                pj, bj = sgd_momentum(ps[j], bs[j], lr0, mu, keep, decay, zero)
                if count == 4:
                    pj, bj = sgd_momentum(pj, bj, lr1, mu, keep, decay, zero)
                    pj, bj = sgd_momentum(pj, bj, lr2, mu, keep, decay, zero)
                    pj, bj = sgd_momentum(pj, bj, lr3, mu, keep, decay, zero)
                ps[j], bs[j] = pj, bj
                left |= bj != 0
    return left


@inner
def sgd_momentum(p, b, lr, mu, keep, decay, zero):
    """(p, b) after the step of `sgd_update` with momentum and g = 0."""
    b = mu * b + keep * (zero + decay * p)
    return p - lr * b, b


@inner
def sgd_nesterov(p, b, rate, mu, keep, decay, also, zero):
    """The same with Nesterov's momentum."""
    d = zero + decay * p
    b = mu * b + keep * d
    return p - rate * (d + also * b), b


@kernel
def sgd_owed(p, b, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi):
    """What `sgd_update` would have done. Without decay nothing changes after one step without momentum, or b = 0."""
    number = p.dtype.type
    sign, momentum, decays = number(-1 if option[5] != 0 else 1), option[1] != 0, option[3] != 0
    h = number(option[1]), sign * number(1 - option[2]), sign * number(option[3]), sign, option[4] != 0
    for n in range(count):
        i = touched[n]
        row, begin = row_of(at, inputs, lanes, lo, hi, i), seen[i]
        if n + 1 < count:
            ahead = row_of(at, inputs, lanes, lo, hi, touched[n + 1])
            ask_for(p, b, b, ahead)
        left, t = True, begin
        while t < now and left:
            if momentum and table[1, t] == 0:
                steps = 4 if t + 4 <= now else 1
                left = sgd_steps(p, b, row, table, t, steps, h) or decays
                t += steps
            else:
                sgd_first(p, b, row, number(table[0, t]), h, momentum)
                left = momentum or decays
                t += 1
