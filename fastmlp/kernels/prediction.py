"""The rows of a prediction in one call: the forward pass of the engine's loop, in evaluation mode."""

from .batch import ask_for_rows
from .jit import kernel
from .layout import LINEAR
from .lists import HEAD, gather_batch, make_lists
from .simd import swap_control_word, view
from .steps import forward_layer, part_of


@kernel
def predict_rows(
    plan, numbers, lanes, tiles, gather, distinct, source, scale, order, first, last, p, state, buffer, room, x0, bits,
    lists, marks, columns, none, z,
):  # fmt: skip
    """z[n] = the output for row order[n] in evaluation mode, for n in [first, last); z: (>= last, columns).

    Rows go through all layers together, `room` at a time, in `buffer`: a row needs no other, and no thread waits.
    Denormal numbers count as zero, as they do in training. The arguments are those of `Net` and `Batches` one by one:
    a tuple costs a microsecond at each call from Python, and a single row takes seven.
    """
    word, half = swap_control_word(-1), buffer.size // 2
    for start in range(first, last, room):
        N = min(room, last - start)
        side = 0
        inputs, width = gather_batch(
            gather, distinct, source, order, start, N, scale, plan[0].inputs, plan[0].width_in, x0, bits, marks, columns
        )  # fmt: skip
        x = view(x0, 0, (N, width))
        ask_for_rows(source, order, start + N, min(start + N + room, last))
        if plan[0].form == LINEAR and lists.size > HEAD:
            named = columns[: (1 + inputs) * (distinct != 0)]
            marked = view(bits, 0, (N, (inputs + 63) // 64))
            make_lists(N, inputs, plan[0].width // lanes, False, marked, bits, named, lists)
        for layer in range(plan.shape[0]):
            row = plan[layer]
            if row.evaluate == 0:  # a kind that does nothing in evaluation
                continue
            y = view(buffer, side * half, (N, row.width))
            lo, hi = part_of(row, N, lanes, 1, 0)
            forward_layer(
                row, lanes, tiles, lists if layer == 0 else none, numbers[layer], x, y, p, state, False, 0, lo, hi,
            )  # fmt: skip
            x, side = y, 1 - side
        for n in range(N):
            for c in range(z.shape[1]):
                z[start + n, c] = x[n, c]
    swap_control_word(word)
