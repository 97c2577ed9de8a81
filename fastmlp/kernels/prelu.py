"""PReLU (He, Zhang, Ren, Sun, ICCV 2015): leaky ReLU whose slope is learnt, a slope for each column.

x, y, dy, dx: (N, columns)   weights: the slopes, dweights: their gradients, (1, columns); numbers and state are empty.
Where one slope serves all columns, a copy of it stands at each, and `norm.add_columns` adds their gradients up.
"""

from .jit import kernel


@kernel
def prelu_forward(x, y, weights, state, numbers, columns, lo, hi):
    """y = x where x > 0, else w x."""
    w = weights[0, lo:hi]
    for n in range(x.shape[0]):
        source, target = x[n, lo:hi], y[n, lo:hi]
        for o in range(hi - lo):
            target[o] = source[o] if source[o] > 0 else source[o] * w[o]


@kernel
def prelu_backward(dy, x, dx, weights, dweights, state, numbers, columns, lo, hi):
    """dx = dy where x > 0, else w dy;  dw = Σₙ dy x over the rows where x <= 0: at the kink the slope is w."""
    w, dw, zero = weights[0, lo:hi], dweights[0, lo:hi], x.dtype.type(0)
    dw[:] = 0
    for n in range(x.shape[0]):
        above, source, below = dy[n, lo:hi], x[n, lo:hi], dx[n, lo:hi]
        for o in range(hi - lo):
            below[o] = above[o] if source[o] > 0 else above[o] * w[o]
            dw[o] += zero if source[o] > 0 else above[o] * source[o]
