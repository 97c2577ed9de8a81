"""The forms of kernels, and their calls by address: how the loop of the engine reaches a layer, a loss, a rule.

A kernel has one of a few forms: its arguments, in this order. A row of the plan holds the *address* of a compiled
kernel, and the loop calls it with Numba's own calling convention. So the loop holds no kernel: it compiles once and
runs every kind there is, kernels compile one by one and only those that a model uses, and the graph, which calls the
same functions from Python, runs the same machine code.

    f: the dtype of the model.   matrix: (rows, columns) f   vector: (n,) f   numbers: (n,) float64   lo, hi: int64

A call costs 20 to 40 ns. Arrays must be C-contiguous, aligned and writable, as Numba's signature says; a wrong address
ends the process. So addresses are taken in one place, `address`, which keeps the function alive, and a plan is verified
before the loop sees it. Why not a table of functions that the loop holds: it would compile with every kernel in it,
14.5 s, and a new kernel would be a new loop.
"""

import re
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError, UnsupportedBytecodeError
from numba.extending import intrinsic
from numpy.typing import DTypeLike

INT, NUMBERS, INTEGERS = types.int64, types.Array(types.float64, 1, "C"), types.Array(types.int64, 1, "C")
TARGETS, LISTS = types.Array(types.float64, 2, "C"), types.Array(types.int32, 1, "C")
WORDS = types.Array(types.uint64, 1, "C")

# What a form's letters stand for: m matrix, b packed blocks (blocks, inputs, lanes), v vector, all of the model's
# dtype; d numbers, t targets (rows, T), terms (3, rows) and tables in float64, i int64, f float64; a, l, w arrays of
# int64, int32 and uint64.
FORMS: dict[str, str] = {
    "elementwise_forward": "mmdii",
    "elementwise_backward": "mmmdii",
    "random": "mmdiiiii",
    "norm_forward": "mmmmdiii",
    "norm_backward": "mmmmmmdiii",
    "norm_weights": "mmmmdiii",
    "linear_forward": "mbvmalii",
    "linear_input": "mbvmaii",
    "linear_weight": "mmvvvviivaliddii",
    "linear_bias": "mvvvvividdii",
    "loss_forward": "mtvmtdiii",
    "loss_backward": "mtvmmdiii",
    "score": "mttdiii",
    "scale": "dfid",
    "rule": "vvvvvdd",
    "lift": "dt",
    "owed": "vvvviiaiaitdiii",
    "gather": "aaifm",
    "distinct": "aaiifvwwa",
    "columns": "mmiii",
}
ARGUMENTS: dict[str, str] = {  # what they are called, in the same order
    "elementwise_forward": "x, y, numbers, lo, hi",
    "elementwise_backward": "dy, kept, dx, numbers, lo, hi",
    "random": "x, y, numbers, seed, step, layer, lo, hi",  # backward the same with dy, dx
    "norm_forward": "x, y, weights, state, numbers, columns, lo, hi",
    "norm_backward": "dy, x, dx, weights, dweights, state, numbers, columns, lo, hi",
    "norm_weights": "dy, x, dweights, state, numbers, columns, lo, hi",
    "linear_forward": "x, w, b, y, tiles, lists, lo, hi",
    "linear_input": "dy, w, scratch, dx, tiles, lo, hi",
    "linear_weight": "x, dy, p, m, v, u, at, inputs, piece, tiles, lists, rule, option, scale, lo, hi",
    "linear_bias": "dy, p, m, v, u, at, piece, rule, option, scale, lo, hi",
    "loss_forward": "z, targets, r, kept, terms, numbers, columns, lo, hi",
    "loss_backward": "z, targets, r, kept, dz, numbers, columns, lo, hi",
    "score": "z, targets, terms, numbers, columns, lo, hi",
    "scale": "option, lr, t, scale",
    "rule": "p, g, m, v, u, option, scale",
    "lift": "option, table",
    "owed": "p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi",
    "gather": "source, order, start, factor, x",
    "distinct": "source, order, start, rows, factor, x, bits, marks, columns",
    "columns": "dweights, total, columns, lo, hi",
}
_held: dict[int, Any] = {}  # address -> its function: the machine code lives as long as the function does


def signature(form: str, dtype: DTypeLike) -> tuple[types.Type, ...]:
    """The Numba types of a form's arguments for a model of this dtype."""
    f = numba.from_dtype(np.dtype(dtype))
    letters = {
        "m": types.Array(f, 2, "C"), "b": types.Array(f, 3, "C"), "v": types.Array(f, 1, "C"), "d": NUMBERS,
        "t": TARGETS, "i": INT, "a": INTEGERS, "l": LISTS, "w": WORDS, "f": types.float64,
    }  # fmt: skip
    return tuple(letters[letter] for letter in FORMS[form])


def check(kernel: Any, form: str, owner: str = "") -> None:
    """TypeError, in one sentence, for what is no jitted function or has another number of arguments than the form."""
    name = f"{owner}: " * bool(owner) + getattr(kernel, "__name__", repr(kernel))
    if not hasattr(kernel, "overloads"):
        raise TypeError(f"{name} is {type(kernel).__name__}; it must be a function under fastmlp.kernels.kernel")
    have, wanted = kernel.py_func.__code__.co_argcount, len(FORMS[form])
    if have != wanted:
        what = f"{have} arguments; a kernel of the form {form} has {wanted}"
        raise TypeError(f"{name} has {what}: ({ARGUMENTS[form]})")


def _reason(error: Exception) -> str:
    """The line of Numba's message that says what is wrong, and where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Failed in", "During:", "File ", "[", "-", "<"))] or lines
    what = said[0].rstrip(".")
    if what.endswith("found for signature:"):  # the next line has it
        what = f"{what[:-1]} {said[1].removeprefix('>>> ')}"
    places = [re.fullmatch(r'File "(?:.*/)?(.*)", (line \d+):?', line) for line in lines]
    if found := [place for place in places if place]:
        what += f" ({found[-1][1]}, {found[-1][2]})"
    return what


def address(kernel: Any, form: str, dtype: DTypeLike) -> int:
    """Where the machine code of a kernel lies: compiled for the form, or loaded from the cache, at the first call.

    Error: TypeError for what is no jitted function, does not have the form's arguments or cannot be compiled for them.
    """
    check(kernel, form)
    return _compiled(kernel, form, np.dtype(dtype))


def address_of_pass(kernel: Any, *arguments: Any) -> int:
    """Where the machine code of a pass lies: of a kernel that takes the tuples of the loop, compiled for just these."""
    return _at(kernel, kernel.__name__, "", tuple(numba.typeof(argument) for argument in arguments))


@cache  # later calls take no lock of the compiler, which a process forked meanwhile would find shut for ever
def _compiled(kernel: Any, form: str, dtype: np.dtype[Any]) -> int:
    words = f"with the arguments ({ARGUMENTS[form]}) of the form {form}"
    return _at(kernel, form, words, signature(form, dtype))


@cache
def _at(kernel: Any, form: str, words: str, wanted: tuple[types.Type, ...]) -> int:
    name = kernel.__name__
    compiled = kernel.overloads.get(wanted)
    if compiled is None:
        try:
            kernel.compile(wanted)
        except (NumbaError, UnsupportedBytecodeError, AttributeError) as error:
            raise TypeError(f"{name} cannot be compiled {words}: {_reason(error)}") from error
        compiled = kernel.overloads[wanted]
    if compiled.signature.return_type != types.none:
        raise TypeError(f"{name} returns {compiled.signature.return_type}; a kernel of the form {form} fills arrays")
    at = int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
    _held[at] = kernel
    return at


def is_address(value: int) -> bool:
    """Whether `address` gave this number out in this process."""
    return value in _held


def _call(arguments: tuple[types.Type, ...]) -> Any:
    """(signature, code) of a call of the function at args[0] with the other arguments; an error in it comes out."""
    for argument in arguments:
        if isinstance(argument, types.Array) and (argument.layout, argument.mutable, argument.aligned) != (
            "C",
            True,
            True,
        ):
            raise numba.TypingError(f"a call by address: {argument} is not C-contiguous, aligned and writable")
    wanted = tuple(INT if isinstance(a, types.Integer | types.Boolean) else a for a in arguments)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        convention = context.call_conv
        function = builder.inttoptr(args[0], convention.get_function_type(types.none, wanted).as_pointer())
        values = [context.cast(builder, v, t, w) for v, t, w in zip(args[1:], signature.args[1:], wanted, strict=True)]
        status, _ = convention.call_function(builder, function, types.none, wanted, values)
        with builder.if_then(status.is_error, likely=False):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(INT, *arguments), codegen


@intrinsic
def call_elementwise(typingctx, address, x, y, numbers, lo, hi):
    """forward(x, y, numbers, lo, hi)."""
    return _call((x, y, numbers, lo, hi))


@intrinsic
def call_elementwise_backward(typingctx, address, dy, kept, dx, numbers, lo, hi):
    """backward(dy, kept, dx, numbers, lo, hi)."""
    return _call((dy, kept, dx, numbers, lo, hi))


@intrinsic
def call_random(typingctx, address, x, y, numbers, seed, step, layer, lo, hi):
    """forward(x, y, numbers, seed, step, layer, lo, hi), or backward(dy, dx, ...)."""
    return _call((x, y, numbers, seed, step, layer, lo, hi))


@intrinsic
def call_norm(typingctx, address, x, y, weights, state, numbers, columns, lo, hi):
    """forward(x, y, weights, state, numbers, columns, lo, hi), or weights(dy, x, dweights, state, ...)."""
    return _call((x, y, weights, state, numbers, columns, lo, hi))


@intrinsic
def call_norm_backward(typingctx, address, dy, x, dx, weights, dweights, state, numbers, columns, lo, hi):
    """backward(dy, x, dx, weights, dweights, state, numbers, columns, lo, hi)."""
    return _call((dy, x, dx, weights, dweights, state, numbers, columns, lo, hi))


@intrinsic
def call_linear_forward(typingctx, address, x, w, b, y, tiles, lists, lo, hi):
    """forward(x, w, b, y, tiles, lists, lo, hi)."""
    return _call((x, w, b, y, tiles, lists, lo, hi))


@intrinsic
def call_linear_input(typingctx, address, dy, w, scratch, dx, tiles, lo, hi):
    """input(dy, w, scratch, dx, tiles, lo, hi)."""
    return _call((dy, w, scratch, dx, tiles, lo, hi))


@intrinsic
def call_linear_weight(
    typingctx, address, x, dy, p, m, v, u, at, inputs, piece, tiles, lists, rule, option, scale, lo, hi
):
    """weight(x, dy, p, m, v, u, at, inputs, piece, tiles, lists, rule, option, scale, lo, hi)."""
    return _call((x, dy, p, m, v, u, at, inputs, piece, tiles, lists, rule, option, scale, lo, hi))


@intrinsic
def call_linear_bias(typingctx, address, dy, p, m, v, u, at, piece, rule, option, scale, lo, hi):
    """bias(dy, p, m, v, u, at, piece, rule, option, scale, lo, hi)."""
    return _call((dy, p, m, v, u, at, piece, rule, option, scale, lo, hi))


@intrinsic
def call_loss(typingctx, address, z, targets, r, kept, filled, numbers, columns, lo, hi):
    """forward(z, targets, r, kept, terms, numbers, columns, lo, hi), or backward with dz for terms."""
    return _call((z, targets, r, kept, filled, numbers, columns, lo, hi))


@intrinsic
def call_score(typingctx, address, z, targets, terms, numbers, columns, lo, hi):
    """score(z, targets, terms, numbers, columns, lo, hi)."""
    return _call((z, targets, terms, numbers, columns, lo, hi))


@intrinsic
def call_scale(typingctx, address, option, lr, t, scale):
    """scale(option, lr, t, scale)."""
    return _call((option, lr, t, scale))


@intrinsic
def call_rule(typingctx, address, p, g, m, v, u, option, scale):
    """update(p, g, m, v, u, option, scale)."""
    return _call((p, g, m, v, u, option, scale))


@intrinsic
def call_owed(typingctx, address, p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi):
    """owed(p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi)."""
    return _call((p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi))


@intrinsic
def call_gather(typingctx, address, source, order, start, factor, x):
    """gather(source, order, start, factor, x)."""
    return _call((source, order, start, factor, x))


@intrinsic
def call_distinct(typingctx, address, source, order, start, rows, factor, x, bits, marks, columns):
    """distinct(source, order, start, rows, factor, x, bits, marks, columns)."""
    return _call((source, order, start, rows, factor, x, bits, marks, columns))


@intrinsic
def call_columns(typingctx, address, dweights, total, columns, lo, hi):
    """sum(dweights, total, columns, lo, hi)."""
    return _call((dweights, total, columns, lo, hi))


@intrinsic
def call_squares(typingctx, address, net, clip, shared, own, threads, thread):
    """squares(net, clip, shared, own, threads, thread), a pass."""
    return _call((net, clip, shared, own, threads, thread))


@intrinsic
def call_clipped(typingctx, address, net, rule, clip, shared, own, step, threads, thread):
    """steps(net, rule, clip, shared, own, step, threads, thread), a pass."""
    return _call((net, rule, clip, shared, own, step, threads, thread))


@intrinsic
def call_averages(typingctx, address, net, average, p, threads, thread, weight):
    """averages(net, average, p, threads, thread, weight), a pass."""
    return _call((net, average, p, threads, thread, weight))
