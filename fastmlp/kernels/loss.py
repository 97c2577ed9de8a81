"""Losses of classes and labels. Softmax cross-entropy in two steps: z -> log-probabilities -> loss.

    y[n, c] = z[n, c] - log Σ_k e^z[n, k]                        log_softmax
    loss = -Σₙ r[n] Σ_c q[n, c] y[n, c]                          nll_loss
    q[n, c] = (1 - s) [c = labels[n]] + s / C                    s: label smoothing (Szegedy et al., CVPR 2016)
    q[n, c] = w[c] ((1 - s) p[n, c] + s / C)                     soft_nll_loss: weights w of classes, probabilities p

N rows, C classes; z, y, p, dy, dz: (N, >= C), all of one width; labels: (N,) integers in [0, C); r: (N,) the weight of
each row, 1 / N for the mean. A softmax needs its whole row: these kernels fill a range of rows [lo, hi).

On the graph the two steps are two nodes. The engine takes a loss as one pair, and a score beside it:

    forward(z, targets, r, kept, terms, numbers, columns, lo, hi)     terms[0, n] = r[n] times the loss of row n
    backward(z, targets, r, kept, dz, numbers, columns, lo, hi)       dz = d(Σ terms[0]) / dz
    score(z, targets, terms, numbers, columns, lo, hi)                terms[1, n] = what row n adds to the score

Where a score is a ratio, it also fills terms[2, n], what row n adds to the divisor.

targets: (N, T) float64, a class number or T numbers; kept: what the backward needs, as many times N rows as the loss
declares; numbers: the loss's options, or the score's, float64; columns: C without padding.
"""

import numpy as np

from .exponential import exp, limits
from .jit import inner, kernel
from .simd import view


@inner
def exponentials(z, y, p, classes, lo, hi):
    """y = z - top,  p = e^y, with the row's maximum `top`: no exponential overflows.

    The exponentials are taken in one loop over all columns of y in all rows, those past C too: one long loop is faster
    than many short ones.
    """
    width = y.shape[1]
    for n in range(lo, hi):
        row, out = z[n], y[n]
        top = row[0]
        for c in range(1, classes):
            top = row[c] if row[c] > top else top
        for c in range(width):
            out[c] = row[c] - top
    lowest, highest = limits(z)
    size = (hi - lo) * width
    numbers, powers = view(y, lo * width, (size,)), view(p, lo * width, (size,))
    for i in range(numbers.size):
        powers[i] = exp(numbers[i], lowest, highest)


@inner
def sum_of(row, classes):
    """Σ_c row[c], in the order of the classes."""
    total = row.dtype.type(0)
    for c in range(classes):
        total += row[c]
    return total


@kernel
def log_softmax_forward(z, y, p, classes, lo, hi):
    """y = z - top - log Σ e^(z - top),  p = e^y, with the row's maximum `top`."""
    exponentials(z, y, p, classes, lo, hi)
    for n in range(lo, hi):
        out, share = y[n], p[n]
        total = sum_of(share, classes)
        shift = np.log(total)
        for c in range(y.shape[1]):
            out[c] -= shift
            share[c] /= total


@kernel
def log_softmax_backward(dy, p, dz, classes, lo, hi):
    """dz = dy - p Σ_c dy."""
    for n in range(lo, hi):
        above, share, below = dy[n, :classes], p[n, :classes], dz[n, :classes]
        total = sum_of(above, classes)
        for c in range(classes):
            below[c] = above[c] - share[c] * total


@kernel
def nll_loss_forward(y, labels, r, smoothing, classes, lo, hi):
    """Returns Σ over the rows [lo, hi) of  -r[n] Σ_c q[n, c] y[n, c], summed in float64."""
    number = y.dtype.type
    on, off = number(1 - smoothing), number(smoothing / classes)
    loss = 0.0
    for n in range(lo, hi):
        row = y[n, :classes]
        term = on * row[int(labels[n])]
        if smoothing > 0:
            term += off * sum_of(row, classes)
        loss -= r[n] * term
    return loss


@kernel
def nll_loss_backward(dloss, labels, r, smoothing, dy, classes, lo, hi):
    """dy[n, c] = -dloss r[n] q[n, c]."""
    number = dy.dtype.type
    on, off, dloss = number(1 - smoothing), number(smoothing / classes), number(dloss)
    for n in range(lo, hi):
        out, label = dy[n, :classes], int(labels[n])
        for c in range(classes):
            q = on + off if c == label else off
            out[c] = -dloss * r[n] * q


@inner
def share_of_class(targets, numbers, n, c, classes):
    """q[n, c] = w[c] ((1 - s) p[n, c] + s / C).    targets: p (N, C), or labels (N, 1)  numbers: (s,) or (s, w...)"""
    p = targets[n, c] if targets.shape[1] > 1 else 1.0 if c == int(targets[n, 0]) else 0.0
    w = numbers[1 + c] if numbers.size > 1 else 1.0
    return w * ((1 - numbers[0]) * p + numbers[0] / classes)


@kernel
def soft_nll_loss_forward(y, targets, r, terms, numbers, classes, lo, hi):
    """terms[0, n] = -r[n] Σ_c q[n, c] y[n, c]; a class whose q is 0 counts nothing, whatever its y."""
    number = y.dtype.type
    for n in range(lo, hi):
        total = number(0)
        for c in range(classes):
            q = number(share_of_class(targets, numbers, n, c, classes))
            if q != 0:
                total += q * y[n, c]
        terms[0, n] = -r[n] * total


@kernel
def soft_nll_loss_backward(targets, r, dy, numbers, classes, lo, hi):
    """dy[n, c] = -r[n] q[n, c]."""
    number = dy.dtype.type
    for n in range(lo, hi):
        for c in range(classes):
            dy[n, c] = -r[n] * number(share_of_class(targets, numbers, n, c, classes))


@inner
def kept_rows(kept, N, columns):
    """y and p, (N, C) each, in what is kept: without padding, as their exponentials are taken in one long loop."""
    numbers = view(kept, 0, (kept.size,))
    return view(numbers, 0, (N, columns)), view(numbers, N * columns, (N, columns))


@kernel
def cross_entropy_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = -r[n] Σ_c q[n, c] y[n, c].    targets: labels (N, 1)  numbers: (s,)

    kept: y, p (2 N, >= C); without smoothing the loss looks at one number of y a row, and log Σ is taken off no other.
    """
    number, (below, p) = z.dtype.type, kept_rows(kept, z.shape[0], columns)
    on, off = number(1 - numbers[0]), number(numbers[0] / columns)
    exponentials(z, below, p, columns, lo, hi)
    for n in range(lo, hi):
        row, share = below[n], p[n]
        total = sum_of(share, columns)
        shift = np.log(total)
        term = on * (row[int(targets[n, 0])] - shift)
        if numbers[0] > 0:
            for c in range(columns):
                row[c] -= shift
            term += off * sum_of(row, columns)
        terms[0, n] = 0.0 - r[n] * term
        for c in range(columns):
            share[c] /= total


@kernel
def cross_entropy_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz of it, through y: `log_softmax_backward` of `nll_loss_backward`, both in one loop over whole vectors.

    Without smoothing dy is 0 but for the label, and so its sum is that one number.
    """
    _, p = kept_rows(kept, z.shape[0], columns)
    number = z.dtype.type
    on, off = number(1 - numbers[0]), number(numbers[0] / columns)
    for n in range(lo, hi):
        share, below, label = p[n], dz[n], int(targets[n, 0])
        right, wrong = -r[n] * (on + off), -r[n] * off
        total = number(0) + right
        if off != 0:
            total = number(0)
            for c in range(columns):
                total += right if c == label else wrong
        for c in range(columns):
            below[c] = (right if c == label else wrong) - share[c] * total


@kernel
def soft_cross_entropy_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = -r[n] Σ_c q[n, c] y[n, c], with weights of classes or probabilities.    kept: y, p (2 N, >= C)

    targets: labels (N, 1), or probabilities (N, C), C > 1  numbers: (s,), or (s, w...) with the weights of C classes
    """
    y, p = kept_rows(kept, z.shape[0], columns)
    log_softmax_forward(z, y, p, columns, lo, hi)
    soft_nll_loss_forward(y, targets, r, terms, numbers, columns, lo, hi)


@kernel
def soft_cross_entropy_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz of it, through y."""
    _, p = kept_rows(kept, z.shape[0], columns)
    soft_nll_loss_backward(targets, r, dz, numbers, columns, lo, hi)
    log_softmax_backward(dz, p, dz, columns, lo, hi)


@inner
def softplus(x, lowest, highest):
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|): no exponential overflows, and no digits are lost where it is near 0."""
    above = x if x > 0 or x != x else type(x)(0)
    return above + np.log1p(exp(-abs(x), lowest, highest))


@kernel
def binary_cross_entropy_with_logits_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    """terms[0, n] = r[n] Σ_c w[c] (p[c] t log(1 + e^-z) + (1 - t) log(1 + e^z)) / C.    targets t: (N, C)

    numbers: (w..., p...), the weights of the outputs and of their positive targets, each C or one for all. What has no
    share, as (1 - t) for a t of 1, counts nothing, whatever z is.
    """
    number, many = z.dtype.type, numbers.size // 2
    lowest, highest = limits(z)
    for n in range(lo, hi):
        total = number(0)
        for c in range(columns):
            value, k = z[n, c], c % many
            yes = number(numbers[k] * numbers[many + k] * targets[n, c])
            no = number(numbers[k] * (1 - targets[n, c]))
            if yes != 0 or value != value:
                total += yes * softplus(-value, lowest, highest)
            if no != 0:
                total += no * softplus(value, lowest, highest)
        terms[0, n] = r[n] * (total / number(columns))


@kernel
def binary_cross_entropy_with_logits_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    """dz = r[n] w[c] ((1 - t) s - p[c] t (1 - s)) / C,  s = 1 / (1 + e^-z)."""
    number, many = z.dtype.type, numbers.size // 2
    lowest, highest = limits(z)
    for n in range(lo, hi):
        factor = r[n] / number(columns)
        for c in range(columns):
            value, k = z[n, c], c % many
            yes = number(numbers[k] * numbers[many + k] * targets[n, c])
            no = number(numbers[k] * (1 - targets[n, c]))
            power = exp(-abs(value), lowest, highest)
            small, large = power / (number(1) + power), number(1) / (number(1) + power)
            dz[n, c] = factor * (no * large - yes * small if value > 0 else no * small - yes * large)


@kernel
def f1_score(z, targets, terms, numbers, columns, lo, hi):
    """terms[1, n] = 2 TP, terms[2, n] = 2 TP + FP + FN of a row's labels; z > 0 says yes.    targets t: (N, C)

    The score is the sum of the one over the sum of the other, F1 of all labels together.
    """
    for n in range(lo, hi):
        right, said = 0.0, 0.0
        for c in range(columns):
            yes, label = z[n, c] > 0, targets[n, c] > 0.5
            right += 2.0 * (yes & label)
            said += 1.0 * yes + 1.0 * label
        terms[1, n], terms[2, n] = right, said


@kernel
def accuracy_score(z, targets, terms, numbers, columns, lo, hi):
    """terms[1, n] = 1 where the largest logit is the label's, else 0.    targets: labels, or probabilities (N, C)

    Of equal logits the first counts, and NaN counts as the largest, as in `argmax`; of probabilities the largest is
    the label. The logit of the label is compared with all others, in vectors: no search for the largest, number by
    number, and no branch that nobody can guess.
    """
    for n in range(lo, hi):
        row = z[n]
        label = np.int32(targets[n, 0] if targets.shape[1] == 1 else targets[n].argmax())
        own, beaten = row[label], np.int32(0)
        if own == own:
            for c in range(row.size):  # with the padding: whole vectors
                first = (row[c] == own) & (np.int32(c) < label)
                beaten += np.int32(((not (row[c] <= own)) | first) & (c < columns))
        else:  # NaN, which only another before it beats
            for c in range(label):
                beaten += np.int32(row[c] != row[c])
        terms[1, n] = beaten == 0
