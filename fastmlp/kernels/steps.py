"""Many training steps, or the rows of a prediction, in one call: the loop of the engine.

The model is a *plan*, one row of integers for each layer: which kernel, which widths, where in the flat buffers. One
compiled function runs every plan. Each thread runs `train_steps` with its number and fills its columns of every
layer with the kernels that the graph calls with all columns.

A step:  forward   each layer after the first linear one waits until all columns of its input are there
         loss      a row of it needs every column
         backward  dx of each layer, from the last; waits until all columns of dy are there
         update    dw of each layer, a piece at a time, and at once the optimizer's step on that piece
The last layers are small, and every thread computes them alone, with weights of its own, which stay the same in all
threads. That costs less than two more waits.
"""

import numba
import numpy as np

from .activations import relu_backward, relu_forward, sigmoid_backward, sigmoid_forward, tanh_backward, tanh_forward
from .batch import gather
from .batchnorm import batchnorm_backward, batchnorm_eval_forward, batchnorm_forward
from .dropout import dropout_backward, dropout_forward
from .jit import inner, kernel
from .linear import column_sums, linear_backward_input, linear_forward
from .loss import log_softmax_backward, log_softmax_forward, nll_loss_backward, nll_loss_forward
from .matmul import panel_width, product_dw_rows
from .simd import as_pointer, atomic_load, prefetch_address, swap_control_word
from .threads import LEAVING, share, wait_for_all
from .updates import adam_scale, adam_update, adamw_update, sgd_step

# Kinds of layer, rules and kinds of feature.
LINEAR, RELU, TANH, SIGMOID, DROPOUT, BATCHNORM = range(6)
SGD, ADAM, ADAMW = range(3)
UINT8, FLOAT32, FLOAT64 = range(3)

# Columns of the plan. Offsets count numbers in the flat buffers; -1 stands for none.
KIND, INPUTS, WIDTH_IN, WIDTH, X, Y, DX, DY, WEIGHT, BIAS, STATS, SLOT, SEED, STEP, LAYER, ALONE, WAITS, SENDS = range(
    18
)
PLAN_COLUMNS = 18
# Columns of `numbers`: p, or (momentum, eps).   Columns of `options`, a row for each parameter.
RATE, EPS = range(2)
LR, OPTION1, OPTION2, OPTION3, DECAY, NESTEROV, OPTION_COLUMNS = range(7)

PIECE = 64  # rows of dw that are made before they are used: the piece, 3 vectors wide, stays in the first-level cache


@inner
def matrix(flat, at, rows, columns):
    """(rows, columns) from flat[at] on."""
    return flat[at : at + rows * columns].reshape(rows, columns)


@inner
def blocks_of(flat, at, width, inputs, lanes):
    """A packed weight, (width / lanes, inputs, lanes), from flat[at] on."""
    return flat[at : at + width * inputs].reshape(width // lanes, inputs, lanes)


@inner
def gather_rows(address, kind, columns, order, start, scale, x):
    """A batch x from features at a memory address: one compiled loop for every array of a dtype."""
    rows = (1 << 62) // max(columns, 1) // 8
    if kind == UINT8:
        gather(numba.carray(as_pointer(address), (rows, columns), np.uint8), order, start, scale, x)
    elif kind == FLOAT32:
        gather(numba.carray(as_pointer(address), (rows, columns), np.float32), order, start, scale, x)
    else:
        gather(numba.carray(as_pointer(address), (rows, columns), np.float64), order, start, scale, x)


@inner
def ask_for_rows(address, kind, columns, order, start, end):
    """Ask for the rows order[start:end] before they are gathered: shuffled rows come from main memory.

    That is done at the end of a step: asked for earlier, they would have to lie in the cache for longer, and leave it.
    """
    size = columns * (1 if kind == UINT8 else 4 if kind == FLOAT32 else 8)
    for n in range(start, end):
        row = address + order[n] * size
        for line in range(0, size + 63, 64):
            prefetch_address(row + line)


@inner
def forward_layer(row, number, x, y, flat, stats, lanes, training, step, lo, hi):
    """One layer of the plan for the columns [lo, hi) of y."""
    kind, width = row[KIND], row[WIDTH]
    if kind == LINEAR:
        w = blocks_of(flat, row[WEIGHT], width, row[INPUTS], lanes)
        linear_forward(x, w, flat[row[BIAS] : row[BIAS] + width], y, lo, hi)
    elif kind == RELU:
        relu_forward(x, y, lo, hi)
    elif kind == TANH:
        tanh_forward(x, y, lo, hi)
    elif kind == SIGMOID:
        sigmoid_forward(x, y, lo, hi)
    elif kind == DROPOUT:
        rate = number[RATE] if training else 0.0
        dropout_forward(x, y, rate, row[SEED], row[STEP] + step, row[LAYER], lo, hi)
    else:
        at, gamma, beta = row[STATS], flat[row[WEIGHT] : row[WEIGHT] + width], flat[row[BIAS] : row[BIAS] + width]
        running_mean, running_var = stats[at : at + width], stats[at + width : at + 2 * width]
        if training:
            mean, rstd = stats[at + 2 * width : at + 3 * width], stats[at + 3 * width : at + 4 * width]
            batchnorm_forward(
                x, gamma, beta, mean, rstd, running_mean, running_var, y, number[RATE], number[EPS], lo, hi
            )
        else:
            batchnorm_eval_forward(x, gamma, beta, running_mean, running_var, y, number[EPS], lo, hi)


@inner
def backward_layer(row, number, dy, x, y, dx, flat, stats, step, lo, hi):
    """dx for the columns [lo, hi) of a layer that works column by column; not over dy, else no loop is vectorised."""
    kind, width = row[KIND], row[WIDTH]
    if kind == RELU:
        relu_backward(dy, y, dx, lo, hi)
    elif kind == TANH:
        tanh_backward(dy, y, dx, lo, hi)
    elif kind == SIGMOID:
        sigmoid_backward(dy, y, dx, lo, hi)
    elif kind == DROPOUT:
        dropout_backward(dy, dx, number[RATE], row[SEED], row[STEP] + step, row[LAYER], lo, hi)
    else:
        at, gamma = row[STATS], flat[row[WEIGHT] : row[WEIGHT] + width]
        mean, rstd = stats[at + 2 * width : at + 3 * width], stats[at + 3 * width : at + 4 * width]
        dgamma, dbeta = stats[at + 4 * width : at + 5 * width], stats[at + 5 * width : at + 6 * width]
        batchnorm_backward(dy, x, gamma, mean, rstd, dx, dgamma, dbeta, lo, hi)


@inner
def update(rule, option, alpha, eps_hat, first, p, g, m, v, at, size):
    """The optimizer's step on `size` numbers from p[at] on; g holds their gradients from 0 on."""
    p, g, m = p[at : at + size], g[:size], m[at : at + size]
    if rule == SGD:
        sgd_step(p, g, m, option[LR], option[OPTION1], option[OPTION2], option[DECAY], option[NESTEROV] != 0, first)
    elif rule == ADAM:
        adam_update(p, g, m, v[at : at + size], alpha, option[OPTION1], option[OPTION2], eps_hat, option[DECAY])
    else:
        decay = option[LR] * option[DECAY]
        adamw_update(p, g, m, v[at : at + size], alpha, option[OPTION1], option[OPTION2], eps_hat, decay)


@inner
def update_layer(row, rule, options, counts, steps, x, dy, flat, m, v, stats, piece, lanes, lo, hi):
    """dw, db (or dgamma, dbeta) of the columns [lo, hi) of a layer, and the optimizer's step with them."""
    kind, inputs, width = row[KIND], row[INPUTS], row[WIDTH]
    if kind != LINEAR and kind != BATCHNORM:
        return
    for which in range(2):  # 0: weight or gamma, 1: bias or beta
        slot = row[SLOT] + which
        t, at = counts[slot] + steps, row[WEIGHT] if which == 0 else row[BIAS]
        if at < 0:
            continue
        option = options[slot]
        alpha, eps_hat = 0.0, 0.0
        if rule != SGD:
            alpha, eps_hat = adam_scale(option[LR], option[OPTION1], option[OPTION2], option[OPTION3], t)
        if kind == LINEAR and which == 0:
            j = lo
            while j < hi:
                vectors = panel_width((hi - j) // lanes)
                for i in range(0, inputs, PIECE):
                    rows = min(PIECE, inputs - i)
                    product_dw_rows(x, dy, piece, 0, lanes, i, i + rows, j, j + vectors * lanes)
                    for vector in range(vectors):
                        start = at + (j + vector * lanes) * inputs + i * lanes
                        gradient = piece[vector * rows * lanes : (vector + 1) * rows * lanes]
                        update(rule, option, alpha, eps_hat, t == 1, flat, gradient, m, v, start, rows * lanes)
                j += vectors * lanes
        elif kind == LINEAR:
            for j in range(lo, hi, piece.size):
                columns = min(hi - j, piece.size)
                column_sums(dy, piece, j, j + columns)
                update(rule, option, alpha, eps_hat, t == 1, flat, piece, m, v, at + j, columns)
        else:
            gradient = stats[row[STATS] + (4 + which) * width + lo : row[STATS] + (4 + which) * width + hi]
            update(rule, option, alpha, eps_hat, t == 1, flat, gradient, m, v, at + lo, hi - lo)


@inner
def input_of(plan, layer, x0, act, mine, N):
    """The input of a layer: the batch, or the output of the layer before."""
    if plan[layer, X] < 0:
        return x0
    return matrix(mine if plan[layer - 1, ALONE] else act, plan[layer, X], N, plan[layer, WIDTH_IN])


@inner
def loss_rows(z, logp, p, dz, labels, r, classes, lo, hi):
    """dz of the mean cross-entropy for the rows [lo, hi)."""
    log_softmax_forward(z, logp, p, classes, lo, hi)
    nll_loss_backward(1.0, labels, r, 0.0, dz, classes, lo, hi)
    log_softmax_backward(dz, p, dz, classes, lo, hi)


@inner
def score_rows(z, logp, labels, r, classes, terms, lo, hi):
    """terms[0, n] = this row's part of the mean loss; terms[1, n] = 1 where the largest logit is the label's.

    Of equal logits the first counts, and NaN counts as the largest, as in `argmax`. The choice is made without
    branches: nobody can guess which class is the largest.
    """
    for n in range(lo, hi):
        terms[0, n] = nll_loss_forward(logp, labels, r, 0.0, classes, n, n + 1)
        row, best = z[n, :classes], 0
        top = row[0]
        for c in range(1, classes):
            larger = (top == top) & ~(row[c] <= top)
            top, best = (row[c] if larger else top), (c if larger else best)
        terms[1, n] = best == labels[n]


@kernel
def train_steps(
    thread, threads, patience, gate, plan, numbers, rule, options, counts, lanes, classes, loss_at,
    address, feature_kind, columns, scale, labels, order, bounds, first, last,
    p, m, v, stats, own_p, own_m, own_v, act, dact, own_act, own_dact, own_x, scratch, pieces,
    own_labels, own_r, terms, sums,
):  # fmt: skip
    """Run the steps [first, last) of an epoch as thread number `thread` of `threads`; returns the step it came to.

    Batch s is the rows order[bounds[s] : bounds[s + 1]]. `own` arrays have the thread as their first index: the
    batch (gathering it twice costs less than fetching half of it from the other core), its labels and row weights, and
    the weights and activations of the layers that each thread computes alone.
    The mean loss of a batch times its rows is added to sums[0], the rows whose largest logit is the label's to
    sums[1], both by thread 0, row by row, so that they do not depend on the number of threads.
    """
    layers, turn, number = plan.shape[0], 0, p.dtype.type
    width_x, room = plan[0, WIDTH_IN], own_labels.shape[1]
    my_act, my_dact, my_p = own_act[thread], own_dact[thread], own_p[thread]
    batch_labels, r = own_labels[thread], own_r[thread]
    end = plan[layers - 1]
    width_z, end_alone = end[WIDTH], end[ALONE]
    for step in range(first, last):
        N = bounds[step + 1] - bounds[step]
        x0 = matrix(own_x[thread], 0, N, width_x)
        gather_rows(address, feature_kind, columns, order, bounds[step], scale, x0)
        for n in range(N):
            batch_labels[n] = labels[order[bounds[step] + n]]
            r[n] = number(1 / N)

        for layer in range(layers):
            row, alone = plan[layer], plan[layer, ALONE]
            if row[WAITS]:
                turn = wait_for_all(gate, threads, turn, patience)
            lo, hi = share(row[WIDTH], lanes, 1 if alone else threads, 0 if alone else thread)
            x = input_of(plan, layer, x0, act, my_act, N)
            y = matrix(my_act if alone else act, row[Y], N, row[WIDTH])
            forward_layer(row, numbers[layer], x, y, my_p if alone else p, stats, lanes, True, step, lo, hi)

        if not end_alone:
            turn = wait_for_all(gate, threads, turn, patience)
        lo, hi = (0, N) if end_alone else (N * thread // threads, N * (thread + 1) // threads)
        z = matrix(my_act if end_alone else act, end[Y], N, width_z)
        dz = matrix(my_dact if end_alone else dact, end[DY], N, width_z)
        logp = matrix(my_act, loss_at, N, width_z)
        probabilities = matrix(my_act, loss_at + room * width_z, N, width_z)
        loss_rows(z, logp, probabilities, dz, batch_labels, r, classes, lo, hi)
        score_rows(z, logp, batch_labels, r, classes, terms, N * thread // threads, N * (thread + 1) // threads)
        if not end_alone:
            turn = wait_for_all(gate, threads, turn, patience)

        for layer in range(layers - 1, -1, -1):
            row, alone, below_alone = plan[layer], plan[layer, ALONE], layer > 0 and plan[layer - 1, ALONE]
            if row[SENDS]:
                dy = matrix(my_dact if alone else dact, row[DY], N, row[WIDTH])
                if row[KIND] == LINEAR:
                    if not alone:
                        turn = wait_for_all(gate, threads, turn, patience)
                    lo, hi = share(row[WIDTH_IN], lanes, threads, thread)
                    dx = matrix(dact, row[DX], N, row[WIDTH_IN])
                    w = blocks_of(my_p if alone else p, row[WEIGHT], row[WIDTH], row[INPUTS], lanes)
                    linear_backward_input(dy, w, scratch[thread], dx, lo, hi)
                else:
                    lo, hi = share(row[WIDTH], lanes, 1 if alone else threads, 0 if alone else thread)
                    x = input_of(plan, layer, x0, act, my_act, N)
                    y = matrix(my_act if alone else act, row[Y], N, row[WIDTH])
                    dx = matrix(my_dact if below_alone else dact, row[DX], N, row[WIDTH_IN])
                    backward_layer(row, numbers[layer], dy, x, y, dx, p, stats, step, lo, hi)

        turn = wait_for_all(gate, threads, turn, patience)  # until here, others may have read this thread's weights
        if thread == 0:
            loss = 0.0
            for n in range(N):
                loss += terms[0, n]
                sums[1] += terms[1, n]
            sums[0] += np.float64(number(loss)) * N
        for layer in range(layers - 1, -1, -1):
            if layer == 0 and step + 1 < last:
                ask_for_rows(address, feature_kind, columns, order, bounds[step + 1], bounds[step + 2])
            row, alone = plan[layer], plan[layer, ALONE]
            lo, hi = share(row[WIDTH], lanes, 1 if alone else threads, 0 if alone else thread)
            x = input_of(plan, layer, x0, act, my_act, N)
            dy = matrix(my_dact if alone else dact, row[DY], N, row[WIDTH])
            update_layer(
                row, rule, options, counts, step + 1, x, dy,
                my_p if alone else p, own_m[thread] if alone else m, own_v[thread] if alone else v,
                stats, pieces[thread], lanes, lo, hi,
            )  # fmt: skip
        turn = wait_for_all(gate, threads, turn, patience)
        if threads > 1 and atomic_load(gate, LEAVING) != 0:
            return step + 1
    return last


@kernel
def predict_rows(
    plan, numbers, lanes, classes, address, feature_kind, columns, scale, order, first, last,
    p, stats, own_p, buffer, room, z,
):  # fmt: skip
    """z[n] = the logits of row order[n] in evaluation mode, for n in [first, last); z: (>= last, classes).

    Rows go through all layers together, `room` at a time, in `buffer`: a row needs no other, and no thread waits.
    Denormal numbers count as zero, as they do in training.
    """
    word, half = swap_control_word(-1), buffer.size // 2
    for start in range(first, last, room):
        N = min(room, last - start)
        x, side = matrix(buffer, 0, N, plan[0, WIDTH_IN]), 1
        gather_rows(address, feature_kind, columns, order, start, scale, x)
        ask_for_rows(address, feature_kind, columns, order, start + N, min(start + N + room, last))
        for layer in range(plan.shape[0]):
            row = plan[layer]
            y = matrix(buffer, side * half, N, row[WIDTH])
            alone = row[ALONE] != 0
            forward_layer(row, numbers[layer], x, y, own_p[0] if alone else p, stats, lanes, False, 0, 0, row[WIDTH])
            x, side = y, 1 - side
        for n in range(N):
            for c in range(classes):
                z[start + n, c] = x[n, c]
    swap_control_word(word)
