"""Many training steps, or the rows of a prediction, in one call: the loop of the engine.

The model is a *plan*, one row for each layer: the addresses of its kernels, its widths, where it lies in the flat
buffers. The loop calls the kernels by their addresses (`forms`), so it knows no layer, no loss and no rule, and one
compiled function runs every plan. Each thread runs `train_steps` with its number and fills its columns (or its rows)
of every layer with the kernels that the graph calls with all of them.

A step:  forward   a layer waits where it needs columns or rows of its input that other threads make
         loss      a row of it needs every column
         backward  dx of each layer, from the last; waits as the forward does
         update    dw of each layer, a piece at a time, and at once the optimizer's step on that piece
The last layers are small, and every thread computes them alone, with weights of its own, which stay the same in all
threads. That costs less than two more waits.
"""

from typing import Any, NamedTuple

import numpy as np

from . import forms
from .batch import ask_for_rows
from .jit import inner, kernel
from .simd import atomic_load, swap_control_word, view
from .threads import LEAVING, share, wait_for_all
from .updates import step as one_step

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
            "state", "state_rows", "state_width",  # place and shape of the state of a NORM
            "dweights",  # place of its parameters' gradients, in the same buffer
            "seed", "step", "layer",  # the counters of RANDOM
            "by_rows",  # 1 where a thread owns rows of the layer, 0 where it owns columns
            "alone",  # 1 where every thread computes all of it
            "waits", "waits_back",  # 1 where the forward, the backward must wait for the other threads
            "sends",  # 1 where its backward is to be computed
        )
    ]
)  # fmt: skip


class Net(NamedTuple):
    """What does not change while a model trains.    plan: (layers,) ROW   numbers: (layers, n) float64"""

    plan: Any
    numbers: Any
    lanes: int
    tiles: Any


class Batches(NamedTuple):
    """Where rows come from.

    gather   address of the kernel that makes x of them      source   (address, rows, columns, bytes a row)
    scale    what features are multiplied by                 targets  (rows, T) float64
    order    row numbers; batch s is order[bounds[s] : bounds[s + 1]]
    """

    gather: int
    source: Any
    scale: float
    targets: Any
    order: Any
    bounds: Any


class Loss(NamedTuple):
    """Addresses of the pair and the score, their numbers, where a thread keeps what the backward needs."""

    forward: int
    backward: int
    score: int
    numbers: Any
    score_numbers: Any
    kept_at: int
    kept_rows: int  # as many times the rows of a batch


class Rule(NamedTuple):
    """scale, update: addresses.   option: (slots, n) float64   counts: (slots,) steps so far

    rates: (steps or 1, slots), the learning rate of each step
    """

    scale: int
    update: int
    option: Any
    counts: Any
    rates: Any


class Buffers(NamedTuple):
    """Flat buffers: parameters p, the rule's state m, v, u, layers' state, activations and their gradients."""

    p: Any
    m: Any
    v: Any
    u: Any
    state: Any
    act: Any
    dact: Any


class Own(NamedTuple):
    """The same for each thread, which is the first index: what it computes alone, and its batch (gathering it twice
    costs less than fetching half of it from the other core).

    targets (threads, room, T)   r (threads, room) the weight of each row   terms (threads, 2, room) float64
    scales (threads, slots, SCALES) float64
    """

    p: Any
    m: Any
    v: Any
    u: Any
    act: Any
    dact: Any
    x: Any
    scratch: Any
    pieces: Any
    targets: Any
    r: Any
    terms: Any
    scales: Any


@inner
def part_of(row, rows, lanes, threads, thread):
    """[lo, hi): the thread's rows or columns of a layer; all of them where every thread computes it alone."""
    if row.by_rows:
        return (0, rows) if row.alone else (rows * thread // threads, rows * (thread + 1) // threads)
    return share(row.width, lanes, 1 if row.alone else threads, 0 if row.alone else thread)


@inner
def forward_layer(row, lanes, tiles, numbers, x, y, p, state, training, step, lo, hi):
    """One layer of the plan for the columns or rows [lo, hi) of y."""
    address = row.forward if training else row.evaluate
    if row.form == LINEAR:
        w = view(p, row.weight, (row.width // lanes, row.inputs, lanes))
        bias = view(p, row.bias, (row.width if row.parameters > 1 else 0,))
        forms.call_linear(address, x, w, bias, y, tiles, lo, hi)
    elif row.form == ELEMENTWISE:
        forms.call_elementwise(address, x, y, numbers, lo, hi)
    elif row.form == RANDOM:
        forms.call_random(address, x, y, numbers, row.seed, row.step + step, row.layer, lo, hi)
    else:
        weights = view(p, row.weight, (row.parameters, row.width))
        own = view(state, row.state, (row.state_rows, row.state_width))
        forms.call_norm(address, x, y, weights, own, numbers, row.columns, lo, hi)


@inner
def backward_layer(row, net, numbers, dy, x, y, dx, p, state, scratch, step, lo, hi):
    """dx for the columns or rows [lo, hi) of a layer; never over dy, else no loop is vectorised."""
    if row.form == LINEAR:
        w = view(p, row.weight, (row.width // net.lanes, row.inputs, net.lanes))
        forms.call_linear(row.backward, dy, w, scratch, dx, net.tiles, lo, hi)
    elif row.form == ELEMENTWISE:
        forms.call_elementwise_backward(row.backward, dy, x if row.keeps_x else y, dx, numbers, lo, hi)
    elif row.form == RANDOM:
        forms.call_random(row.backward, dy, dx, numbers, row.seed, row.step + step, row.layer, lo, hi)
    else:
        weights = view(p, row.weight, (row.parameters, row.width))
        own = view(state, row.state, (row.state_rows, row.state_width))
        dweights = view(state, row.dweights, (row.parameters, row.width))
        forms.call_norm_backward(row.backward, dy, x, dx, weights, dweights, own, numbers, row.columns, lo, hi)


@inner
def update_layer(row, net, rule, numbers, x, dy, p, m, v, u, state, piece, scales, step, lo, hi):
    """The gradients of a layer's parameters for its columns [lo, hi), and the optimizer's step with them.

    scales: (slots, SCALES). Each thread has its own and calls `scale` once a step for each slot, so that the numbers
    that the rule carries on in it are the same for all.
    """
    if row.form == NORM and row.weights:
        own = view(state, row.state, (row.state_rows, row.state_width))
        dweights = view(state, row.dweights, (row.parameters, row.width))
        forms.call_norm(row.weights, dy, x, dweights, own, numbers, row.columns, lo, hi)
    for which in range(row.parameters):
        slot = row.slot + which
        option, scale = rule.option[slot], scales[slot]
        forms.call_scale(
            rule.scale,
            option,
            rule.rates[min(step, rule.rates.shape[0] - 1), slot],
            rule.counts[slot] + step + 1,
            scale,
        )
        if row.form == LINEAR and which == 0:
            forms.call_linear_weight(
                row.weights, x, dy, p, m, v, u, row.weight, row.inputs, piece, net.tiles, rule.update, option, scale,
                lo, hi,
            )  # fmt: skip
        elif row.form == LINEAR:
            forms.call_linear_bias(
                row.bias_update, dy, p, m, v, u, row.bias, piece, rule.update, option, scale, lo, hi
            )  # fmt: skip
        else:
            at, g = row.weight + which * row.width, row.dweights + which * row.width
            one_step(rule.update, p, state, g + lo, m, v, u, at + lo, hi - lo, option, scale)


@kernel
def train_steps(thread, threads, patience, gate, net, batches, loss, rule, shared, own, first, last, sums):
    """Run the steps [first, last) of an epoch as thread number `thread` of `threads`; returns the step it came to.

    The mean loss of a batch times its rows is added to sums[0], its rows' scores to sums[1], both by thread 0, row by
    row, so that they do not depend on the number of threads. sums[2] is the step that all threads have come to: who
    called knows it also where an exception takes the answer.
    """
    plan, lanes = net.plan, net.lanes
    layers, turn, number = plan.shape[0], 0, shared.p.dtype.type
    end, T = plan[layers - 1], own.targets.shape[2]
    my_act, my_dact, my_p, my_x = own.act[thread], own.dact[thread], own.p[thread], own.x[thread]
    r, targets_at = own.r[thread], thread * own.targets.shape[1] * T
    scratch, piece, scales = own.scratch[thread], own.pieces[thread], own.scales[thread]
    all_terms = own.terms[0]
    for step in range(first, last):
        start, N = batches.bounds[step], batches.bounds[step + 1] - batches.bounds[step]
        x0 = view(my_x, 0, (N, plan[0].width_in))
        forms.call_gather(batches.gather, batches.source, batches.order, start, batches.scale, x0)
        targets = view(own.targets, targets_at, (N, T))
        for n in range(N):
            for t in range(T):
                targets[n, t] = batches.targets[batches.order[start + n], t]
            r[n] = number(1 / N)

        for layer in range(layers):
            row = plan[layer]
            if row.waits:
                turn = wait_for_all(gate, threads, turn, patience)
            lo, hi = part_of(row, N, lanes, threads, thread)
            below_alone = layer > 0 and plan[layer - 1].alone
            x = view(my_x if layer == 0 else my_act if below_alone else shared.act, max(row.x, 0), (N, row.width_in))
            y = view(my_act if row.alone else shared.act, row.y, (N, row.width))
            p = my_p if row.alone else shared.p
            forward_layer(row, lanes, net.tiles, net.numbers[layer], x, y, p, shared.state, True, step, lo, hi)

        if not end.alone:
            turn = wait_for_all(gate, threads, turn, patience)
        mine_lo, mine_hi = N * thread // threads, N * (thread + 1) // threads
        lo, hi = (0, N) if end.alone else (mine_lo, mine_hi)
        z = view(my_act if end.alone else shared.act, end.y, (N, end.width))
        dz = view(my_dact if end.alone else shared.dact, end.dy, (N, end.width))
        kept = view(my_act, loss.kept_at, (loss.kept_rows * N, end.width))
        terms = own.terms[thread if end.alone else 0]
        forms.call_loss(loss.forward, z, targets, r, kept, terms, loss.numbers, end.columns, lo, hi)
        forms.call_loss(loss.backward, z, targets, r, kept, dz, loss.numbers, end.columns, lo, hi)
        forms.call_score(loss.score, z, targets, all_terms, loss.score_numbers, end.columns, mine_lo, mine_hi)
        if not end.alone:
            turn = wait_for_all(gate, threads, turn, patience)

        for layer in range(layers - 1, -1, -1):
            row = plan[layer]
            if row.sends:
                below_alone = layer > 0 and plan[layer - 1].alone
                dy = view(my_dact if row.alone else shared.dact, row.dy, (N, row.width))
                if row.waits_back:
                    turn = wait_for_all(gate, threads, turn, patience)
                if row.form == LINEAR:  # the columns of the layer below, which are shared also where this one is not
                    lo, hi = share(row.width_in, lanes, threads, thread)
                    dx = view(shared.dact, row.dx, (N, row.width_in))
                else:
                    lo, hi = part_of(row, N, lanes, threads, thread)
                    dx = view(my_dact if below_alone else shared.dact, row.dx, (N, row.width_in))
                x = view(
                    my_x if layer == 0 else my_act if below_alone else shared.act, max(row.x, 0), (N, row.width_in)
                )
                y = view(my_act if row.alone else shared.act, row.y, (N, row.width))
                p = my_p if row.alone else shared.p
                backward_layer(row, net, net.numbers[layer], dy, x, y, dx, p, shared.state, scratch, step, lo, hi)

        turn = wait_for_all(gate, threads, turn, patience)  # until here, others may have read this thread's weights
        if thread == 0:
            total = 0.0
            for n in range(N):
                total += all_terms[0, n]
                sums[1] += all_terms[1, n]
            sums[0] += np.float64(number(total)) * N
        for layer in range(layers - 1, -1, -1):
            if layer == 0 and step + 1 < last:
                ask_for_rows(batches.source, batches.order, batches.bounds[step + 1], batches.bounds[step + 2])
            row = plan[layer]
            if row.parameters == 0:
                continue
            lo, hi = share(row.width, lanes, 1 if row.alone else threads, 0 if row.alone else thread)
            below_alone = layer > 0 and plan[layer - 1].alone
            x = view(my_x if layer == 0 else my_act if below_alone else shared.act, max(row.x, 0), (N, row.width_in))
            dy = view(my_dact if row.alone else shared.dact, row.dy, (N, row.width))
            if row.alone:
                p, m, v, u = my_p, own.m[thread], own.v[thread], own.u[thread]
            else:
                p, m, v, u = shared.p, shared.m, shared.v, shared.u
            update_layer(
                row, net, rule, net.numbers[layer], x, dy, p, m, v, u, shared.state, piece, scales, step, lo, hi,
            )  # fmt: skip
        turn = wait_for_all(gate, threads, turn, patience)
        if thread == 0:
            sums[2] = step + 1
        if threads > 1 and atomic_load(gate, LEAVING) != 0:
            return step + 1
    return last


@kernel
def predict_rows(
    plan, numbers, lanes, tiles, gather, source, scale, order, first, last, p, own_p, state, buffer, room, z
):
    """z[n] = the output for row order[n] in evaluation mode, for n in [first, last); z: (>= last, columns).

    Rows go through all layers together, `room` at a time, in `buffer`: a row needs no other, and no thread waits.
    Denormal numbers count as zero, as they do in training. The arguments are those of `Net` and `Batches` one by one:
    a tuple costs a microsecond at each call from Python, and a single row takes seven.
    """
    word, half = swap_control_word(-1), buffer.size // 2
    for start in range(first, last, room):
        N = min(room, last - start)
        x, side = view(buffer, 0, (N, plan[0].width_in)), 1
        forms.call_gather(gather, source, order, start, scale, x)
        ask_for_rows(source, order, start + N, min(start + N + room, last))
        for layer in range(plan.shape[0]):
            row = plan[layer]
            if row.evaluate == 0:  # a kind that does nothing in evaluation
                continue
            y = view(buffer, side * half, (N, row.width))
            lo, hi = part_of(row, N, lanes, 1, 0)
            forward_layer(row, lanes, tiles, numbers[layer], x, y, own_p if row.alone else p, state, False, 0, lo, hi)
            x, side = y, 1 - side
        for n in range(N):
            for c in range(z.shape[1]):
                z[start + n, c] = x[n, c]
    swap_control_word(word)
