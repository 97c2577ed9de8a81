"""Linear layer: y = x w + b.    N rows, I inputs, O outputs; the layout of w is that of `matmul`."""

from .jit import kernel
from .matmul import product, product_dw, product_dx


@kernel
def linear_forward(x, w, b, y, lo, hi):
    """y = x w + b  for the columns [lo, hi) of y.    x: (N, >= I)  w: (blocks, I, lanes)  b: (>= hi,)  y: (N, padded O)

    b is added after the sum. Columns of y past b.size keep the product alone, which is zero in the padding.
    """
    product(x, w, y, lo, hi)
    bias = b[lo:hi]
    for n in range(x.shape[0]):
        row = y[n, lo:hi]
        for o in range(bias.size):
            row[o] += bias[o]


@kernel
def linear_backward(dy, x, dw, db, lo, hi):
    """dw = xᵀ dy,  db = Σₙ dy  for the columns [lo, hi) of dy.    shapes as forward; dw as w, db as b

    A column's weights need the column's dy only. dx needs every column of dy and is `linear_backward_input`.
    """
    product_dw(x, dy, dw, lo, hi)
    column_sums(dy, db[lo:hi], lo, hi)


@kernel
def column_sums(dy, db, lo, hi):
    """db[o - lo] = Σₙ dy[n, o]  for the columns o in [lo, hi), row after row; columns past the end of db are left."""
    total = db[: hi - lo]
    for o in range(total.size):
        total[o] = 0
    for n in range(dy.shape[0]):
        row = dy[n, lo:hi]
        for o in range(total.size):
            total[o] += row[o]


@kernel
def linear_backward_input(dy, w, scratch, dx, lo, hi):
    """dx = dy wᵀ  for the columns [lo, hi) of dx, those of the layer before.    dx, scratch as in `product_dx`"""
    product_dx(dy, w, scratch, dx, lo, hi)
