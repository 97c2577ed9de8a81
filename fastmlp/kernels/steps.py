"""Many training steps in one call: the loop of the engine.

The model is a *plan*, one row for each layer: the addresses of its kernels, its widths, where it lies in the flat
buffers. The loop calls the kernels by their addresses (`forms`), so it knows no layer, no loss and no rule, and one
compiled function runs every plan. Each thread runs `train_steps` with its number and fills its columns (or its rows)
of every layer with the kernels that the graph calls with all of them.

A step:  forward   a layer waits where it needs columns or rows of its input that other threads make
         loss      a row of it needs every column
         backward  dx of each layer, from the last; waits as the forward does
         update    dw of each layer, a piece at a time, and at once the optimizer's step on that piece; where gradients
                  are clipped, all of them first
Until the update nothing is changed but the state of norms, which `keep_state` can put back: a step is given up where
somebody asks for it, or where the loss is not finite. An update that has begun is finished, but that of the step that
gate[UNDO] names: who called has a copy of all that was before it.
"""

import numpy as np

from . import forms
from .batch import ask_for_rows
from .jit import inner, kernel
from .layout import ELEMENTWISE, LINEAR, NORM, RANDOM
from .lists import FIRST, GROUP, HEAD, OWED, gather_batch, make_lists
from .simd import atomic_load, atomic_store, view
from .threads import DIVERGED, LEAVING, STOP, UNDO, is_asked_to_stop, share, share_rows, wait_for_all
from .updates import prepare
from .updates import step as one_step

ROWS_AT_ONCE = 2048  # of a product: between them a thread looks whether the step is given up; a multiple of the tile's


@inner
def part_of(row, rows, lanes, threads, thread):
    """[lo, hi): the thread's rows or columns of a layer."""
    return share_rows(rows, threads, thread) if row.by_rows else share(row.width, lanes, threads, thread)


@inner
def forward_layer(row, lanes, tiles, lists, numbers, x, y, p, state, training, step, lo, hi):
    """One layer of the plan for the columns or rows [lo, hi) of y; lists: of the batch, or NO_LISTS."""
    address = row.forward if training else row.evaluate
    if row.form == LINEAR:
        w = view(p, row.weight, (row.width // lanes, row.inputs, lanes))
        bias = view(p, row.bias, (row.width if row.parameters > 1 else 0,))
        forms.call_linear_forward(address, x, w, bias, y, tiles, lists, lo, hi)
    elif row.form == ELEMENTWISE:
        forms.call_elementwise(address, x, y, numbers, lo, hi)
    elif row.form == RANDOM:
        forms.call_random(address, x, y, numbers, row.seed, row.step + step, row.layer, lo, hi)
    else:
        weights = view(p, row.weight, (row.weight_rows, row.width))
        own = view(state, row.state, (row.state_rows, row.state_width))
        forms.call_norm(address, x, y, weights, own, numbers, row.columns, lo, hi)


@inner
def backward_layer(row, net, numbers, dy, x, y, dx, p, state, scratch, step, lo, hi):
    """dx for the columns or rows [lo, hi) of a layer; never over dy, else no loop is vectorised."""
    if row.form == LINEAR:
        w = view(p, row.weight, (row.width // net.lanes, row.inputs, net.lanes))
        forms.call_linear_input(row.backward, dy, w, scratch, dx, net.tiles, lo, hi)
    elif row.form == ELEMENTWISE:
        forms.call_elementwise_backward(row.backward, dy, x if row.keeps_x else y, dx, numbers, lo, hi)
    elif row.form == RANDOM:
        forms.call_random(row.backward, dy, dx, numbers, row.seed, row.step + step, row.layer, lo, hi)
    else:
        weights = view(p, row.weight, (row.weight_rows, row.width))
        own = view(state, row.state, (row.state_rows, row.state_width))
        dweights = view(state, row.dweights, (row.weight_rows, row.width))
        forms.call_norm_backward(row.backward, dy, x, dx, weights, dweights, own, numbers, row.columns, lo, hi)


@inner
def listed_layer(plan):
    """The product whose x has the zeros of the batch: the first layer, or the one after dropout; -1 where none has."""
    layer = 0
    while layer < plan.shape[0] and plan[layer].form == RANDOM:
        layer += 1
    return layer if layer < plan.shape[0] and plan[layer].form == LINEAR else -1


@inner
def piece_of(row, rows, first):
    """The end of the rows from `first` on that are made at once: all, but of a product only so many."""
    return min(first + ROWS_AT_ONCE, rows) if row.form == LINEAR else rows


@inner
def update_layer(row, net, rule, lists, numbers, x, dy, p, m, v, u, state, piece, scales, step, lo, hi):
    """The gradients of a layer's parameters for its columns [lo, hi), and the optimizer's step with them.

    scales: (slots, SCALES). Each thread has its own and calls `scale` once a step for each slot, so that the numbers
    that the rule carries on in it are the same for all.
    """
    if row.form == NORM and row.weights:
        own = view(state, row.state, (row.state_rows, row.state_width))
        dweights = view(state, row.dweights, (row.weight_rows, row.width))
        forms.call_norm(row.weights, dy, x, dweights, own, numbers, row.columns, lo, hi)
    gradients = row.dweights
    if row.tied:  # the columns' gradients are there, as all have waited: every thread adds all of them up, in order
        gradients += row.weight_rows * row.width
        total = view(state, gradients, (row.weight_rows, row.width))
        forms.call_columns(
            row.tied, view(state, row.dweights, (row.weight_rows, row.width)), total, row.columns, lo, hi
        )  # fmt: skip
    for which in range(row.parameters):
        slot = row.slot + which
        if not net.slots[slot].trained:
            continue
        option, scale = prepare(rule, slot, step, scales)
        if row.form == LINEAR and which == 0:
            forms.call_linear_weight(
                row.weights, x, dy, p, m, v, u, row.weight, row.inputs, piece, net.tiles, lists, rule.update, option,
                scale, lo, hi,
            )  # fmt: skip
        elif row.form == LINEAR:
            forms.call_linear_bias(
                row.bias_update, dy, p, m, v, u, row.bias, piece, rule.update, option, scale, lo, hi
            )  # fmt: skip
        else:
            at, g = row.weight + which * row.width, gradients + which * row.width
            one_step(rule.update, p, state, g + lo, m, v, u, at + lo, hi - lo, option, scale)


@inner
def bring_up(rule, row, shared, lanes, inputs, many, seen, step, lo, hi):
    """Make up for the steps before `step` that the weights of `many` inputs owe, in the columns [lo, hi)."""
    slot = row.slot
    option = rule.option[min(max(step - rule.first, 0), rule.option.shape[0] - 1), slot]
    forms.call_owed(
        rule.owed, shared.p, shared.m, shared.v, shared.u, row.weight, row.inputs, inputs, many, seen, step, rule.table,
        option, lanes, lo, hi,
    )  # fmt: skip
    for i in range(many):
        seen[inputs[i]] = step


@kernel
def bring_all_up(thread, threads, rule, row, shared, lanes, inputs, seen, step):
    """`bring_up` of all inputs, the columns divided among threads. seen: (threads, inputs)"""
    lo, hi = share(row[0].width, lanes, threads, thread)
    bring_up(rule, row[0], shared, lanes, inputs, inputs.size, seen[thread], step, lo, hi)


@inner
def keep_state(plan, rows, lanes, threads, thread, state, kept):
    """This thread's columns of the state of every norm, into `kept`; the other way round they are put back."""
    for layer in range(plan.shape[0]):
        row = plan[layer]
        if row.form == NORM and not row.by_rows:  # what owns rows carries nothing from step to step
            lo, hi = part_of(row, rows, lanes, threads, thread)
            for k in range(row.state_rows):
                at = row.state + k * row.state_width
                for c in range(at + lo, at + hi):
                    kept[c] = state[c]


@inner
def is_finite(losses, lo, hi):
    """Whether the losses of these rows are."""
    total = 0.0
    for n in range(lo, hi):
        total += losses[n] * 0.0
    return total == 0.0


@inner
def share_out(weights, order, start, factor, r, N, lo, hi):
    """r[n] = w / Σ w q of the rows [lo, hi) of a batch, or factor w for the sum; returns Σ w q of all N.

    Without weights w and q are 1. Where no row counts, Σ w q is 0, and so is each share.
    """
    number, mass = r.dtype.type, float(N)
    if weights.shape[0] == 0:
        each = number(factor if factor != 0 else 1 / N)
        for n in range(lo, hi):
            r[n] = each
        return mass
    mass = 0.0
    for n in range(N):
        mass += weights[order[start + n], 1]
    for n in range(lo, hi):
        w = weights[order[start + n], 0]
        r[n] = number(w * factor if factor != 0 else w / mass if mass > 0 else 0.0)
    return mass


@kernel
def train_steps(
    thread, threads, patience, gate, net, batches, loss, rule, clip, average, shared, own, first, last, sums
):
    """Run the steps [first, last) of an epoch as thread number `thread` of `threads`; returns the step it came to.

    Thread 0 adds up, row by row, so that sums do not depend on the number of threads: sums[0] Σ w times the losses, the
    batch's loss times its divisor, and sums[3] the divisors Σ w q; sums[1] Σ w times the scores, and sums[4] what they
    are divided by. sums[2] is the step that all threads have come to: who called knows it also where an exception takes
    the answer. A step that is given up counts as none, and leaves sums, parameters and state as they were.
    """
    plan, lanes = net.plan, net.lanes
    layers, turn, number = plan.shape[0], 0, shared.p.dtype.type
    end, T, terms = plan[layers - 1], own.targets.shape[2], shared.terms
    p, my_x, my_kept = shared.p, own.x[thread], own.kept[thread]
    r, targets_at = own.r[thread], thread * own.targets.shape[1] * T
    scratch, piece, scales = own.scratch[thread], own.pieces[thread], own.scales[thread]
    listed = listed_layer(plan)
    bits, square, lists, none = own.bits[thread], own.square[thread], own.lists[thread], own.none
    marks, columns, seen = own.marks[thread], own.columns[thread], own.seen[thread]
    at_once = clip.keep if clip.on else rule  # what is done with a piece of a gradient when it is made
    for step in range(first, last):
        undo = atomic_load(gate, UNDO) == step + 1
        start, N = batches.bounds[step], batches.bounds[step + 1] - batches.bounds[step]
        inputs, width = gather_batch(
            batches.gather, batches.distinct, batches.source, batches.order, start, N, batches.scale, plan[0].inputs,
            plan[0].width_in, my_x, bits, marks, columns,
        )  # fmt: skip
        if listed >= 0 and lists.size > HEAD:
            lo, hi = part_of(plan[listed], N, lanes, threads, thread)
            named = columns[: (1 + inputs) * (batches.distinct != 0)]
            marked = view(bits, 0, (N, (inputs + 63) // 64))
            make_lists(N, inputs, (hi - lo) // lanes, True, marked, square, named, lists)
            if rule.owed != 0:
                lists[OWED] = 1
            if rule.owed > 0:
                bring_up(rule, plan[0], shared, lanes, columns[1:], inputs, seen, step, lo, hi)
        targets, (first_row, last_row) = view(own.targets, targets_at, (N, T)), share_rows(N, threads, thread)
        for n in range(first_row, last_row):  # of the loss: no other is looked at
            for t in range(T):
                targets[n, t] = batches.targets[batches.order[start + n], t]
        mass = share_out(batches.weights, batches.order, start, loss.factor, r, N, first_row, last_row)
        keep_state(plan, N, lanes, threads, thread, shared.state, shared.kept)

        for layer in range(layers):
            row = plan[layer]
            if row.waits:
                turn = wait_for_all(gate, threads, turn, patience)
            lo, hi = part_of(row, N, lanes, threads, thread)
            x = view(my_x if layer == 0 else shared.act, max(row.x, 0), (N, width if layer == 0 else row.width_in))
            y = view(shared.act, row.y, (N, row.width))
            first_row = 0
            while first_row < N:
                last_row = piece_of(row, N, first_row)
                if atomic_load(gate, STOP) == 0:
                    if layer == listed:
                        lists[FIRST] = first_row // max(lists[GROUP], 1)
                    forward_layer(
                        row, lanes, net.tiles, lists if layer == listed else none, net.numbers[layer],
                        x[first_row:last_row], y[first_row:last_row], p, shared.state, True, step, lo, hi,
                    )  # fmt: skip
                first_row = last_row

        turn = wait_for_all(gate, threads, turn, patience)
        lo, hi = share_rows(N, threads, thread)
        z, dz = view(shared.act, end.y, (N, end.width)), view(shared.dact, end.dy, (N, end.width))
        kept = view(my_kept, 0, (loss.kept_rows * N, end.width))
        forms.call_loss(loss.forward, z, targets, r, kept, terms, loss.numbers, end.columns, lo, hi)
        forms.call_loss(loss.backward, z, targets, r, kept, dz, loss.numbers, end.columns, lo, hi)
        if atomic_load(gate, STOP) == 0 and not is_finite(terms[0], lo, hi):
            atomic_store(gate, DIVERGED, 1)
            atomic_store(gate, STOP, 1)
        forms.call_score(loss.score, z, targets, terms, loss.score_numbers, end.columns, lo, hi)

        for layer in range(layers - 1, -1, -1):
            row = plan[layer]
            if row.sends:
                dy, dx = view(shared.dact, row.dy, (N, row.width)), view(shared.dact, row.dx, (N, row.width_in))
                if row.waits_back:
                    turn = wait_for_all(gate, threads, turn, patience)
                if row.form == LINEAR:  # the columns of the layer below
                    lo, hi = share(row.width_in, lanes, threads, thread)
                else:
                    lo, hi = part_of(row, N, lanes, threads, thread)
                x = view(my_x if layer == 0 else shared.act, max(row.x, 0), (N, width if layer == 0 else row.width_in))
                y = view(shared.act, row.y, (N, row.width))
                first_row = 0
                while first_row < N:
                    last_row = piece_of(row, N, first_row)
                    rows = slice(first_row, last_row)
                    if atomic_load(gate, STOP) == 0:
                        backward_layer(
                            row, net, net.numbers[layer], dy[rows], x[rows], y[rows], dx[rows], p, shared.state,
                            scratch, step, lo, hi,
                        )  # fmt: skip
                    first_row = last_row

        turn = wait_for_all(gate, threads, turn, patience)  # until here, others may have read this thread's weights
        if is_asked_to_stop(gate, threads):
            keep_state(plan, N, lanes, threads, thread, shared.kept, shared.state)
            return step
        if thread == 0:
            total, weighted = 0.0, batches.weights.shape[0] > 0
            for n in range(N):
                total += terms[0, n]
                w = batches.weights[batches.order[start + n], 2] if weighted else 1.0
                sums[1] += terms[1, n] * w
                sums[4] += terms[2, n] * w
            total = np.float64(number(total))
            sums[0] += total / loss.factor if loss.factor != 0 else total * mass
            sums[3] += mass
        for layer in range(layers - 1, -1, -1):
            if layer == 0 and step + 1 < last:
                ask_for_rows(batches.source, batches.order, batches.bounds[step + 1], batches.bounds[step + 2])
            row = plan[layer]
            if not row.trains or (undo and atomic_load(gate, STOP) != 0):
                continue
            lo, hi = share(row.width, lanes, threads, thread)
            x = view(my_x if layer == 0 else shared.act, max(row.x, 0), (N, width if layer == 0 else row.width_in))
            dy = view(shared.dact, row.dy, (N, row.width))
            update_layer(
                row, net, at_once, lists if layer == listed else none, net.numbers[layer], x, dy, p,
                shared.g if clip.on else shared.m, shared.v, shared.u, shared.state, piece, scales, step, lo, hi,
            )  # fmt: skip
        if clip.on:
            if clip.norm < np.inf:
                forms.call_squares(clip.squares_at, net, clip, shared, own, threads, thread)
                turn = wait_for_all(gate, threads, turn, patience)
            forms.call_clipped(clip.step_at, net, rule, clip, shared, own, step, threads, thread)
        if average.weights.size > 0:
            forms.call_averages(average.at, net, average, p, threads, thread, average.weights[step])
        turn = wait_for_all(gate, threads, turn, patience)
        if undo and is_asked_to_stop(gate, threads):
            return step
        if rule.owed > 0:
            for i in range(inputs):
                seen[columns[1 + i]] = step + 1
        if thread == 0:
            sums[2] = step + 1
        if is_asked_to_stop(gate, threads) or (threads > 1 and atomic_load(gate, LEAVING) != 0):
            return step + 1
    return last
