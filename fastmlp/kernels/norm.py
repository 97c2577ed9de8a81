"""What the layers of the form "norm" share."""

from .jit import kernel


@kernel
def add_columns(dweights, total, columns, lo, hi):
    """total[k, o] = Σ_c dweights[k, c]  for o in [lo, hi), added in the order of the columns.    both: (k, >= columns)

    The gradient of one number that all columns share; who owns columns [lo, hi) has copies of that number there.
    """
    for k in range(dweights.shape[0]):
        row, target, added = dweights[k, :columns], total[k, lo:hi], dweights.dtype.type(0)
        for c in range(row.size):
            added += row[c]
        for o in range(target.size):
            target[o] = added
