"""The only LLVM IR of the project: the register tile, the transpose of a block, and the flush-denormals switch.

Everything else is plain loops, which LLVM turns into vector code by itself.
"""

from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from . import guard

INT64, INT32 = ir.IntType(64), ir.IntType(32)
ELEMENTS: dict[types.Type, tuple[Any, int]] = {
    types.float32: (ir.FloatType(), 4),
    types.float64: (ir.DoubleType(), 8),
}


def vector_unit(machine: str, features: str) -> tuple[int, int, int, bool]:
    """(bytes a vector, rows of the tile, vectors a row, fused multiply-add?) for a processor.

    A tile of rows x vectors accumulators, one row of `vectors` loaded vectors and one broadcast value fit in the
    register file: 32 registers with AVX-512 and NEON (8 * 3 + 3 + 1 = 28), 16 with AVX2 (4 * 3 + 3 + 1 = 16) and
    SSE2, which needs one more for the product it does not fuse (4 * 2 + 2 + 2 = 12).
    """
    enabled = features.split(",")
    if "+avx512f" in enabled:
        return 64, 8, 3, True
    if "+avx2" in enabled and "+fma" in enabled:
        return 32, 4, 3, True
    if machine.startswith(("aarch64", "arm64")):
        return 16, 8, 3, True
    return 16, 4, 2, False


MACHINE = llvm.get_process_triple()
FEATURES = numba.config.CPU_FEATURES  # NUMBA_CPU_FEATURES; None where Numba compiles for this very processor
if FEATURES is None:
    FEATURES = get_host_cpu_features()  # without AVX-512 where NUMBA_ENABLE_AVX=0 asks for that
VECTOR_BYTES, TILE_ROWS, TILE_VECTORS, FUSED = vector_unit(MACHINE, FEATURES)
LISTED_ROWS, LISTED_VECTORS = 4, 4 if TILE_ROWS == 8 else TILE_VECTORS  # of a tile that follows a list
NARROW_ROWS = 8  # of one that is a single vector wide: with fewer, each multiply-add would wait for the one before
K_BLOCK = (
    1024  # k is cut into pieces of this length: a panel of b, K_BLOCK x 3 vectors, stays in the second-level cache
)


def _element(array: types.Array) -> tuple[Any, Any, int]:
    """LLVM element type, vector type and lanes of a Numba array of float32 or float64."""
    element, size = ELEMENTS[array.dtype]
    return element, ir.VectorType(element, VECTOR_BYTES // size), VECTOR_BYTES // size


def _pointer(context: Any, builder: Any, array_type: types.Array, array: Any, offset: Any) -> Any:
    """Pointer to array.flat[offset] of a C-contiguous array."""
    return builder.gep(make_array(array_type)(context, builder, array).data, [offset])


def _within(what: str, context: Any, builder: Any, kind: Any, array: Any, start: Any, length: Any, *axes: Any) -> None:
    """IndexError unless `length` numbers from array.flat[start] on, and from each step of the axes on, are its own.

    axes: (count, step), step >= 0. In the guarded mode only: no other run has any code of this.
    """
    if not guard.ON:
        return

    def number(value: Any) -> Any:
        return ir.Constant(INT64, value) if isinstance(value, int) else value

    end = builder.add(start, number(length))
    for count, step in axes:
        end = builder.add(end, builder.mul(builder.sub(number(count), number(1)), number(step)))
    size = make_array(kind)(context, builder, array).nitems
    below, above = builder.icmp_signed("<", start, number(0)), builder.icmp_signed(">", end, size)
    with builder.if_then(builder.or_(below, above), likely=False):
        context.call_conv.return_user_exc(builder, IndexError, (f"guard: {what} reaches beyond its array",))


def _scale(builder: Any, step: Any, count: int) -> Any:
    return builder.mul(step, ir.Constant(INT64, count))


def _vector_at(builder: Any, vector: Any, pointer: Any, offset: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())


def _load(builder: Any, pointer: Any, size: int) -> Any:
    loaded = builder.load(pointer)
    loaded.align = size  # of the element: nothing promises that an array starts on a vector boundary
    return loaded


def _store(builder: Any, value: Any, pointer: Any, size: int) -> None:
    builder.store(value, pointer).align = size


def _prefetch(builder: Any, pointer: Any, for_writing: bool) -> None:
    """Ask for a cache line, and go on: into the first level to be written, into the second to be read."""
    byte = ir.IntType(8).as_pointer()
    prefetch = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32]), "llvm.prefetch.p0"
    )
    hints = (1, 3, 1) if for_writing else (0, 2, 1)  # write or read, locality, data and not code
    builder.call(prefetch, [builder.bitcast(pointer, byte), *(ir.Constant(INT32, hint) for hint in hints)])


@intrinsic
def prefetch(typingctx, array, offset):
    """Ask for the cache line of array.flat[offset], to be read soon."""

    def codegen(context, builder, signature, args):
        _prefetch(builder, _pointer(context, builder, signature.args[0], args[0], args[1]), for_writing=False)
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def prefetch_address(typingctx, address):
    """Ask for the cache line of a memory address, to be read soon. An address that is nobody's does no harm."""

    def codegen(context, builder, signature, args):
        _prefetch(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()), for_writing=False)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _tile_type(pointer: Any, listed: bool) -> Any:
    """tile(a, a_row, a_col, b, b_row, b_vector, c, c_row, c_vector, K, accumulate), and listed: (..., of_a, of_b)."""
    arguments = [pointer, INT64, INT64, pointer, INT64, INT64, pointer, INT64, INT64, INT64, INT64]
    return ir.FunctionType(ir.VoidType(), arguments + [INT32.as_pointer()] * 2 * listed)


def _tile_function(module: Any, array: types.Array, rows: int, vectors: int, listed: bool) -> Any:
    """The LLVM function of one tile shape, made once a module.

    c[i, j] = (c[i, j] if accumulate else 0) + sum over k of a[i, k] * b[k, j] + 0.0, for `rows` rows i and `vectors`
    vectors j. The accumulators stay in registers while k runs:

        for k:  b[j] = load(b[k, j])                 `vectors` loads
                for i:  c[i, j] += a[i, k] * b[j]    `rows * vectors` fused multiply-adds

    listed: k is no number that counts up, but entry by entry of_a[k] in a and of_b[k] in b, lists of the places where
    not all rows of a are zero. The bits are the same: what is left out is a sum plus or minus 0. Only the sign of a sum
    that is zero could differ, where a product is so small that it counts as -0: the last + 0.0 makes it +0 in both.
    Each sum is one chain over k in ascending order, so a number does not depend on the tile that made it.
    `optsize`: else LLVM unrolls the k loop, runs out of registers and halves the speed.
    """
    element, vector, lanes = _element(array)
    size = VECTOR_BYTES // lanes
    name = f"fastmlp_tile{'_listed' * listed}_{rows}x{vectors}_f{8 * size}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, _tile_type(element.as_pointer(), listed), name)
    function.linkage = "internal"
    function.attributes.add("optsize")
    a, a_row, a_col, b, b_row, b_vector, c, c_row, c_vector, K, accumulate, *lists = function.args
    fma_name = f"llvm.{'fma' if FUSED else 'fmuladd'}.v{lanes}f{8 * size}"
    fma = cgutils.get_or_insert_function(module, ir.FunctionType(vector, [vector] * 3), fma_name)

    entry, old, loop, done = (function.append_basic_block(label) for label in ("entry", "old", "k", "store"))
    builder = ir.IRBuilder(entry)
    a_rows = [builder.gep(a, [_scale(builder, a_row, i)]) for i in range(rows)]
    c_cells = [
        _vector_at(builder, vector, builder.gep(c, [_scale(builder, c_row, i)]), _scale(builder, c_vector, j))
        for i in range(rows)
        for j in range(vectors)
    ]
    for cell in c_cells:  # c arrives while k runs, not after it
        _prefetch(builder, cell, for_writing=True)
    zeros = ir.Constant(vector, [0.0] * lanes)
    start = builder.append_basic_block("start")
    builder.cbranch(builder.icmp_signed("!=", accumulate, ir.Constant(INT64, 0)), old, start)
    builder.position_at_end(old)
    olds = [_load(builder, cell, size) for cell in c_cells]
    builder.branch(loop)
    builder.position_at_end(start)
    builder.cbranch(builder.icmp_signed(">", K, ir.Constant(INT64, 0)), loop, done)

    builder.position_at_end(loop)
    k = builder.phi(INT64)
    k.add_incoming(ir.Constant(INT64, 0), start)
    k.add_incoming(ir.Constant(INT64, 0), old)
    sums = [builder.phi(vector) for _ in c_cells]
    in_a, in_b = (builder.zext(builder.load(builder.gep(one, [k])), INT64) for one in lists) if listed else (k, k)
    b_k = builder.gep(b, [builder.mul(in_b, b_row)])
    b_vectors = [
        _load(builder, _vector_at(builder, vector, b_k, _scale(builder, b_vector, j)), size) for j in range(vectors)
    ]
    a_k = builder.mul(in_a, a_col)
    undefined, lane0 = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
    new: list[Any] = []
    ends: list[Any] = []
    for i in range(rows):
        value = builder.insert_element(undefined, builder.load(builder.gep(a_rows[i], [a_k])), ir.Constant(INT32, 0))
        broadcast = builder.shuffle_vector(value, undefined, lane0)
        new += [builder.call(fma, [broadcast, b_vectors[j], sums[i * vectors + j]]) for j in range(vectors)]
    k_next = builder.add(k, ir.Constant(INT64, 1))
    k.add_incoming(k_next, loop)
    for total, before, value in zip(sums, olds, new, strict=True):
        total.add_incoming(zeros, start)
        total.add_incoming(before, old)
        total.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", k_next, K), loop, done)

    builder.position_at_end(done)
    for cell, value in zip(c_cells, new, strict=True):
        total = builder.phi(vector)
        total.add_incoming(zeros, start)
        total.add_incoming(value, loop)
        ends.append((cell, total))
    for cell, total in ends:
        _store(builder, builder.fadd(total, zeros), cell, size)
    builder.ret_void()
    return function


def tile_row_counts(most: int = TILE_ROWS) -> list[int]:
    """The row counts a tile is compiled for: the most and its halves down to 1."""
    return [most >> shift for shift in range(most.bit_length())]


# Of the table of addresses: tile r x v stands at r * (TILE_VECTORS + 1) + v, and those that follow lists come after.
LISTED_PLACE = (TILE_ROWS + 1) * (TILE_VECTORS + 1)
TILE_PLACES = LISTED_PLACE + (NARROW_ROWS + 1) * (LISTED_VECTORS + 1)


@intrinsic
def write_tile_addresses(typingctx, like, table):
    """Fill table, (TILE_PLACES,), with the addresses of the tiles for the dtype of `like`."""

    def codegen(context, builder, signature, args):
        dense = [(r, v, False) for r in tile_row_counts() for v in range(1, TILE_VECTORS + 1)]
        listed = [(r, v, True) for r in tile_row_counts(LISTED_ROWS) for v in range(1, LISTED_VECTORS + 1)]
        for r, v, follows in [*dense, *listed, (NARROW_ROWS, 1, True)]:
            place = LISTED_PLACE + r * (LISTED_VECTORS + 1) + v if follows else r * (TILE_VECTORS + 1) + v
            tile = builder.ptrtoint(_tile_function(builder.module, signature.args[0], r, v, follows), INT64)
            builder.store(tile, _pointer(context, builder, signature.args[1], args[1], ir.Constant(INT64, place)))
        return context.get_dummy_value()

    return types.void(like, table), codegen


def _call_tile(context: Any, builder: Any, kinds: Any, args: Any, lists: Any = ()) -> None:
    """Call the tile for (tiles, rows, vectors, a, ...), with the lists from these pointers on where there are some."""
    tiles, rows, vectors, a, a0, a_row, a_col, b, b0, b_row, b_vector, c, c0, c_row, c_vector, K, accumulate = args
    lanes = _element(kinds[3])[2]
    once = ir.Constant(INT64, 1) if lists else K  # how far a list leads, who calls it has looked at
    _within("a of a tile", context, builder, kinds[3], a, a0, 1, (rows, a_row), (once, a_col))
    _within("b of a tile", context, builder, kinds[7], b, b0, lanes, (vectors, b_vector), (once, b_row))
    _within("c of a tile", context, builder, kinds[11], c, c0, lanes, (vectors, c_vector), (rows, c_row))
    a = _pointer(context, builder, kinds[3], a, a0)
    b = _pointer(context, builder, kinds[7], b, b0)
    c = _pointer(context, builder, kinds[11], c, c0)
    place = builder.add(_scale(builder, rows, (LISTED_VECTORS if lists else TILE_VECTORS) + 1), vectors)
    place = builder.add(place, ir.Constant(INT64, LISTED_PLACE if lists else 0))
    at = builder.load(_pointer(context, builder, kinds[0], tiles, place))
    kind = _tile_type(_element(kinds[3])[0].as_pointer(), bool(lists))
    tile = builder.inttoptr(at, kind.as_pointer())
    builder.call(tile, [a, a_row, a_col, b, b_row, b_vector, c, c_row, c_vector, K, accumulate, *lists])


@intrinsic
def multiply_tile(
    typingctx, tiles, rows, vectors, a, a0, a_row, a_col, b, b0, b_row, b_vector, c, c0, c_row, c_vector, K, accumulate
):
    """c[rows, vectors * lanes] = a b, or += with `accumulate`, over K values of k.

    a[i, k] is a.flat[a0 + i * a_row + k * a_col]; vector j of b[k] starts at b.flat[b0 + k * b_row + j * b_vector]
    and of c[i] at c.flat[c0 + i * c_row + j * c_vector]. `rows` is one of `tile_row_counts()`, `vectors` is 1 to
    TILE_VECTORS. The arrays are C-contiguous and of one dtype; `tiles` is the table of `matmul.tiles` for it: the
    tile is called by its address, so that all products share one that is compiled once.
    """

    def codegen(context, builder, signature, args):
        _call_tile(context, builder, signature.args, args)
        return context.get_dummy_value()

    i = types.int64
    return types.void(tiles, i, i, a, i, i, i, b, i, i, i, c, i, i, i, i, i), codegen


@intrinsic
def multiply_listed_tile(
    typingctx, tiles, rows, vectors, a, a0, a_row, a_col, b, b0, b_row, b_vector, c, c0, c_row, c_vector, K, accumulate,
    lists, of_a, of_b,
):  # fmt: skip
    """`multiply_tile` over K entries of two lists: lists[of_a + k] in place of k in a, lists[of_b + k] in b.

    `rows` is one of `tile_row_counts(LISTED_ROWS)`, `vectors` is 1 to LISTED_VECTORS; or NARROW_ROWS and 1.
    lists: int32
    """

    def codegen(context, builder, signature, args):
        *args, lists, of_a, of_b = args
        kind = signature.args[17]
        for place in (of_a, of_b):
            _within("a list of a tile", context, builder, kind, lists, place, args[15])
        pointers = [_pointer(context, builder, kind, lists, place) for place in (of_a, of_b)]
        _call_tile(context, builder, signature.args, args, pointers)
        return context.get_dummy_value()

    i = types.int64
    return types.void(tiles, i, i, a, i, i, i, b, i, i, i, c, i, i, i, i, i, lists, i, i), codegen


@intrinsic
def write_places(typingctx, eight, first, lists, at):
    """lists[at : at + 8] = first + the places of the bits that are set in a byte, ascending; then first again.

    lists: int32    eight: the byte, uint64
    """

    def codegen(context, builder, signature, args):
        module, kind, byte = builder.module, signature.args[2], ir.IntType(8)
        eight, first, lists, at = args
        _within("a list", context, builder, kind, lists, at, 8)
        table = module.globals.get("fastmlp_places")
        if table is None:
            places = [([i for i in range(8) if value >> i & 1] + [0] * 8)[:8] for value in range(256)]
            rows = ir.ArrayType(ir.VectorType(byte, 8), 256)
            table = ir.GlobalVariable(module, rows, "fastmlp_places")
            table.linkage, table.global_constant = "internal", True
            table.initializer = ir.Constant(rows, [ir.Constant(rows.element, row) for row in places])
        row = builder.load(builder.gep(table, [ir.Constant(INT64, 0), eight]))
        vector = ir.VectorType(INT32, 8)
        start = builder.insert_element(
            ir.Constant(vector, ir.Undefined), builder.trunc(first, INT32), ir.Constant(INT32, 0)
        )
        start = builder.shuffle_vector(start, ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0] * 8))
        pointer = builder.bitcast(_pointer(context, builder, kind, lists, at), vector.as_pointer())
        _store(builder, builder.add(builder.zext(row, vector), start), pointer, 4)
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64, lists, types.int64), codegen


@intrinsic
def count_bits(typingctx, word):
    """How many bits of a uint64 are set."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def nonzero_bits(typingctx, array, at):
    """A uint64 whose bit i is set where array.flat[at + i] is not zero, for 64 numbers; NaN is not zero."""

    def codegen(context, builder, signature, args):
        kind = signature.args[0]
        _, vector, lanes = _element(kind)
        _within("64 numbers", context, builder, kind, args[0], args[1], 64)
        pointer, parts = _pointer(context, builder, kind, *args), []
        for first in range(0, 64, lanes):
            place = _vector_at(builder, vector, pointer, ir.Constant(INT64, first))
            numbers = _load(builder, place, VECTOR_BYTES // lanes)
            parts.append(builder.fcmp_unordered("!=", numbers, ir.Constant(vector, [0.0] * lanes)))
        while len(parts) > 1:  # two and two are joined
            size = 2 * parts[0].type.count
            both = ir.Constant(ir.VectorType(INT32, size), list(range(size)))
            parts = [builder.shuffle_vector(a, b, both) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return builder.bitcast(parts[0], INT64)

    return types.uint64(array, types.int64), codegen


@intrinsic
def transpose_block(typingctx, a, a0, a_row, b, b0, b_row):
    """b[j, i] = a[i, j] for a block of lanes x lanes; row i starts at a.flat[a0 + i * a_row], b.flat[b0 + i * b_row].

    Rows are vectors. For s = 1, 2, 4 ... each pair of rows (r, r + s) swaps its off-diagonal s x s blocks: after
    log2(lanes) rounds of two-source shuffles the block is transposed.
    """

    def codegen(context, builder, signature, args):
        a, a0, a_row, b, b0, b_row = args
        _, vector, lanes = _element(signature.args[0])
        size = VECTOR_BYTES // lanes
        _within("a of a transpose", context, builder, signature.args[0], a, a0, lanes, (lanes, a_row))
        _within("b of a transpose", context, builder, signature.args[3], b, b0, lanes, (lanes, b_row))
        a = _pointer(context, builder, signature.args[0], a, a0)
        b = _pointer(context, builder, signature.args[3], b, b0)
        rows = [_load(builder, _vector_at(builder, vector, a, _scale(builder, a_row, i)), size) for i in range(lanes)]
        s = 1
        while s < lanes:
            upper = [p if not p & s else lanes + p - s for p in range(lanes)]
            lower = [p + s if not p & s else lanes + p for p in range(lanes)]
            masks = [ir.Constant(ir.VectorType(INT32, lanes), mask) for mask in (upper, lower)]
            for r in range(lanes):
                if not r & s:
                    rows[r], rows[r + s] = (builder.shuffle_vector(rows[r], rows[r + s], mask) for mask in masks)
            s *= 2
        for i, row in enumerate(rows):
            _store(builder, row, _vector_at(builder, vector, b, _scale(builder, b_row, i)), size)
        return context.get_dummy_value()

    index = types.int64
    return types.void(a, index, index, b, index, index), codegen


def _control_word(builder: Any, value: Any = None) -> Any:
    """Read (value None) or write the floating-point control word of this thread; 0 on an unknown processor."""
    module = builder.module
    if MACHINE.startswith(("x86_64", "i386", "i686")):
        cell = builder.alloca(INT32)
        name = "llvm.x86.sse.stmxcsr" if value is None else "llvm.x86.sse.ldmxcsr"
        call = cgutils.get_or_insert_function(
            module, ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()]), name
        )
        if value is not None:
            builder.store(builder.trunc(value, INT32), cell)
        builder.call(call, [builder.bitcast(cell, ir.IntType(8).as_pointer())])
        return builder.zext(builder.load(cell), INT64)
    if MACHINE.startswith(("aarch64", "arm64")):
        if value is None:
            get = cgutils.get_or_insert_function(module, ir.FunctionType(INT64, []), "llvm.aarch64.get.fpcr")
            return builder.call(get, [])
        put = cgutils.get_or_insert_function(module, ir.FunctionType(ir.VoidType(), [INT64]), "llvm.aarch64.set.fpcr")
        builder.call(put, [value])
        return value
    return ir.Constant(INT64, 0)


FLUSH_BITS = 0x8040 if MACHINE.startswith(("x86_64", "i386", "i686")) else 1 << 24  # FTZ and DAZ; FZ


@intrinsic
def swap_control_word(typingctx, word):
    """Set this thread's floating-point control word and return the one before; word < 0 adds the flush bits.

    With them, results and operands too small for a normal number (below 1.2e-38 in float32) count as zero.
    Adam's moments of an input that is always zero decay into such numbers, and each costs a hundred cycles.
    """

    def codegen(context, builder, signature, args):
        before = _control_word(builder)
        flushed = builder.or_(before, ir.Constant(INT64, FLUSH_BITS))
        negative = builder.icmp_signed("<", args[0], ir.Constant(INT64, 0))
        _control_word(builder, builder.select(negative, flushed, args[0]))
        return before

    return types.int64(types.int64), codegen


@intrinsic
def multiply_add_chains(typingctx, array, rounds):
    """TILE_ROWS * TILE_VECTORS independent chains of `rounds` multiply-adds in registers, and nothing else.

    A measure for the tile: no product can do more multiply-adds a second. `array` gives the dtype and the values
    (its first two numbers); the sum of all lanes comes back, so that the compiler can leave nothing out.
    """

    def codegen(context, builder, signature, args):
        _, vector, lanes = _element(signature.args[0])
        bits = 8 * VECTOR_BYTES // lanes
        pointer = _pointer(context, builder, signature.args[0], args[0], ir.Constant(INT64, 0))
        undefined, lane0 = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
        factor, term = (
            builder.shuffle_vector(
                builder.insert_element(
                    undefined, builder.load(builder.gep(pointer, [ir.Constant(INT64, i)])), ir.Constant(INT32, 0)
                ),
                undefined,
                lane0,
            )
            for i in range(2)
        )
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.{'fma' if FUSED else 'fmuladd'}.v{lanes}f{bits}",
        )
        entry, loop, done = builder.block, builder.append_basic_block("chains"), builder.append_basic_block("sum")
        builder.branch(loop)
        builder.position_at_end(loop)
        count = builder.phi(INT64)
        chains = [builder.phi(vector) for _ in range(TILE_ROWS * TILE_VECTORS)]
        new = [builder.call(fma, [chain, factor, term]) for chain in chains]
        count_next = builder.add(count, ir.Constant(INT64, 1))
        count.add_incoming(ir.Constant(INT64, 0), entry)
        count.add_incoming(count_next, loop)
        for i, (chain, value) in enumerate(zip(chains, new, strict=True)):
            chain.add_incoming(ir.Constant(vector, [float(i)] * lanes), entry)
            chain.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", count_next, args[1]), loop, done)
        builder.position_at_end(done)
        total = new[0]
        for value in new[1:]:
            total = builder.fadd(total, value)
        result = builder.extract_element(total, ir.Constant(INT32, 0))
        for lane in range(1, lanes):
            result = builder.fadd(result, builder.extract_element(total, ir.Constant(INT32, lane)))
        return result

    return array.dtype(array, types.int64), codegen


@intrinsic
def power_of_two(typingctx, n):
    """2ⁿ for a float n that holds a whole number in the range of normal exponents: n goes into the exponent bits."""

    def codegen(context, builder, signature, args):
        bits, mantissa, bias = (32, 23, 127) if signature.args[0] == types.float32 else (64, 52, 1023)
        integer = ir.IntType(bits)
        exponent = builder.add(builder.fptosi(args[0], integer), ir.Constant(integer, bias))
        return builder.bitcast(builder.shl(exponent, ir.Constant(integer, mantissa)), args[0].type)

    return n(n), codegen


def _cell(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    _within("an atomic", context, builder, signature.args[0], args[0], args[1], 1)
    return _pointer(context, builder, signature.args[0], args[0], args[1])


@intrinsic
def atomic_add(typingctx, array, index, value):
    """array[index] += value, and the number before; one step for all threads.    array: int64"""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", _cell(context, builder, signature, args), args[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), codegen


@intrinsic
def atomic_load(typingctx, array, index):
    """array[index], and with it all that the thread wrote before it stored that number.    array: int64"""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_cell(context, builder, signature, args), "acquire", 8)

    return types.int64(array, types.int64), codegen


@intrinsic
def atomic_store(typingctx, array, index, value):
    """array[index] = value, seen by other threads after all that this thread wrote before.    array: int64"""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[2], _cell(context, builder, signature, args), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


@intrinsic
def spin_pause(typingctx):
    """Tell the processor that this is a waiting loop."""

    def codegen(context, builder, signature, args):
        name = {"x86_64": "llvm.x86.sse2.pause"}.get(MACHINE.split("-")[0])
        if name:
            builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), name), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def let_others_run(typingctx):
    """Give the processor to another thread that wants it (POSIX sched_yield; nothing on Windows)."""

    def codegen(context, builder, signature, args):
        if "windows" not in MACHINE:
            call = cgutils.get_or_insert_function(builder.module, ir.FunctionType(INT32, []), "sched_yield")
            builder.call(call, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def read_file(typingctx, descriptor, address, size, offset):
    """POSIX's pread: up to `size` bytes of a file from `offset` on to an address; how many came, -1 for an error."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(INT64, [INT32, INT64, INT64, INT64])
        call = cgutils.get_or_insert_function(builder.module, kind, "pread")
        return builder.call(call, [builder.trunc(args[0], INT32), *args[1:]])

    i = types.int64
    return i(i, i, i, i), codegen


def _array(context: Any, builder: Any, kind: types.Array, pointer: Any, shape: Any) -> Any:
    """A C-contiguous array of this type and shape over memory that somebody else owns."""
    made = make_array(kind)(context, builder)
    lengths = cgutils.unpack_tuple(builder, shape, kind.ndim)
    size = ir.Constant(INT64, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [size]
    for length in reversed(lengths[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(made, pointer, lengths, strides, size, meminfo=None)
    return made._getvalue()


@intrinsic
def array_at(typingctx, address, dtype, shape):
    """The memory at an address as an array of a dtype, such as np.uint8, and a shape, a tuple of whole numbers."""
    kind = types.Array(dtype.instance_type, len(shape), "C")

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], context.get_data_type(kind.dtype).as_pointer())
        return _array(context, builder, kind, pointer, args[2])

    return kind(types.int64, dtype, types.UniTuple(types.int64, len(shape))), codegen


@intrinsic
def view(typingctx, flat, at, shape):
    """flat[at : at + product of shape] as an array of that shape, a tuple of whole numbers; nothing is checked, but
    in the mode of `guard`.

    A slice and a reshape check their numbers at each call, and cost thirty times as much to compile.
    """
    kind = types.Array(flat.dtype, len(shape), "C")

    def codegen(context, builder, signature, args):
        flat, at, shape = args
        size = ir.Constant(INT64, 1)
        for length in cgutils.unpack_tuple(builder, shape, kind.ndim):
            size = builder.mul(size, length)
        none = builder.icmp_signed("==", size, ir.Constant(INT64, 0))  # as of an array that a rule does not keep
        _within("a view", context, builder, signature.args[0], flat, builder.select(none, size, at), size)
        return _array(context, builder, kind, _pointer(context, builder, signature.args[0], flat, at), shape)

    return kind(flat, types.int64, types.UniTuple(types.int64, len(shape))), codegen
