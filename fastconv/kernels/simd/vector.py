"""Pointers, vectors and register tiles as Numba values: the one file that speaks LLVM.

A kernel is then plain compiled Python. `lanes`, `rows` and `columns` must be compile-time constants: ints that the kernel's
factory closed over. Loads and stores need no alignment. Nothing here checks bounds: callers prove them.

    ============ ==========================================================================
    Pointer      the address of an element; p + n lies n elements further
    Vector       `lanes` elements in one register
    Rows         the addresses of `rows` elements: one for each row of a tile
    Tile         rows x columns vectors, each in a register of its own
    ============ ==========================================================================
"""

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
INTEGERS = (*types.signed_domain, *types.unsigned_domain)
ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: I1}
ELEMENTS |= {integer: ir.IntType(integer.bitwidth) for integer in INTEGERS}
BYTES = {types.float32: 4, types.float64: 8} | {integer: integer.bitwidth // 8 for integer in INTEGERS}

QUIET = {4: 1 << 22, 8: 1 << 51}  # the bit that every NaN of a result has set, by bytes of a float


class Pointer(types.Type):
    """The address of an element."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(f"Pointer({dtype})")


class Vector(types.Type):
    """`lanes` elements in one register."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


class Rows(types.Type):
    """The addresses of `rows` elements."""

    def __init__(self, dtype: Any, rows: int) -> None:
        self.dtype, self.rows = dtype, rows
        super().__init__(f"Rows({dtype}, {rows})")


class Tile(types.Type):
    """rows x columns vectors."""

    def __init__(self, dtype: Any, rows: int, columns: int, lanes: int) -> None:
        self.dtype, self.rows, self.columns, self.lanes = dtype, rows, columns, lanes
        super().__init__(f"Tile({dtype}, {rows}, {columns}, {lanes})")


def _represented_by(kind: type, llvm_type: Callable[[Any], Any]) -> None:
    @register_model(kind)
    class Model(models.PrimitiveModel):  # type: ignore[misc]
        def __init__(self, manager: Any, t: Any) -> None:
            super().__init__(manager, t, llvm_type(t))


def _vector_of(t: Any) -> Any:
    return ir.VectorType(ELEMENTS[t.dtype], t.lanes)


_represented_by(Pointer, lambda t: I64)
_represented_by(Vector, _vector_of)
_represented_by(Rows, lambda t: ir.LiteralStructType([I64] * t.rows))
_represented_by(Tile, lambda t: ir.LiteralStructType([_vector_of(t)] * (t.rows * t.columns)))


# What the operations are made of ----------------------------------------------------------------------------------------


def _address(builder: Any, p: Any, dtype: Any, offset: Any = None) -> Any:
    at = p if offset is None else builder.add(p, builder.mul(offset, I64(BYTES[dtype])))
    return builder.inttoptr(at, ir.PointerType())


def _read(builder: Any, p: Any, t: Any, offset: Any) -> Any:
    return builder.load(_address(builder, p, t.dtype, offset), typ=_vector_of(t), align=BYTES[t.dtype])


def _write(builder: Any, vector: Any, p: Any, t: Any, offset: Any) -> None:
    builder.store(vector, _address(builder, p, t.dtype, offset), align=BYTES[t.dtype])


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _suffix(t: Any) -> str:
    return f"v{t.lanes}{'f' if t.dtype in types.real_domain else 'i'}{8 * BYTES[t.dtype]}"


def _call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """A call of an LLVM intrinsic by its mangled name: llvmlite's own helper takes no vector types."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _fma(builder: Any, a: Any, b: Any, c: Any, t: Any) -> Any:
    """a * b + c, fused where the machine can; llvm.fma would call the C library where it cannot."""
    return _call(builder, f"llvm.fmuladd.{_suffix(t)}", a.type, [a, b, c])


def _mask(builder: Any, count: Any, lanes: int) -> Any:
    """Lanes 0 .. count - 1, compared in 32 bits, or in 8 where there are many: such a vector is no wider than what it masks."""
    number = I32 if lanes <= 16 else I8
    count = builder.select(builder.icmp_signed("<", count, I64(0)), I64(0), count)
    count = builder.trunc(builder.select(builder.icmp_signed(">", count, I64(lanes)), I64(lanes), count), number)
    numbers = ir.Constant(ir.VectorType(number, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, _splat(builder, count, lanes))


def _read_masked(builder: Any, p: Any, t: Any, mask: Any, others: Any = None) -> Any:
    """The lanes of `mask` at p, those of `others` or zeros elsewhere; no other memory is touched."""
    others = ir.Constant(_vector_of(t), None) if others is None else others
    arguments = [_address(builder, p, t.dtype), I32(BYTES[t.dtype]), mask, others]
    return _call(builder, f"llvm.masked.load.{_suffix(t)}.p0", others.type, arguments)


def _mapped(tile: Any, function: Callable[[Any, Any, list[Any]], Any]) -> Any:
    """The code of an operation on a vector, or on every vector of a tile, with scalars splatted."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, *scalars = args
        splats = [_splat(builder, scalar, tile.lanes) for scalar in scalars]
        if isinstance(tile, Vector):
            return function(builder, t, splats)
        for k in range(tile.rows * tile.columns):
            t = builder.insert_value(t, function(builder, builder.extract_value(t, k), splats), k)
        return t

    return generate


# Pointers ---------------------------------------------------------------------------------------------------------------


@intrinsic
def pointer(context: Any, array: Any) -> Any:
    """The address of an array's first element."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(context.make_array(array)(context, builder, args[0]).data, I64)

    return Pointer(array.dtype)(array), generate


@infer_global(operator.add)
class _PointerPlusInteger(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(args[0], args[0], types.intp)
        return None


@lower_builtin(operator.add, Pointer, types.Integer)
def _lower_pointer_plus_integer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.add(args[0], builder.mul(args[1], I64(BYTES[sig.args[0].dtype])))


@intrinsic
def line_start(context: Any, p: Any) -> Any:
    """The first address from p on that begins a cache line of 64 bytes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.and_(builder.add(args[0], I64(63)), I64(-64))

    return p(p), generate


@intrinsic
def distance(context: Any, p: Any, q: Any) -> Any:
    """Elements from p to q, which both are multiples of the element's size."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sdiv(builder.sub(args[1], args[0]), I64(BYTES[p.dtype]))

    return types.intp(p, p), generate


@intrinsic
def peek(context: Any, p: Any) -> Any:
    """The element at p."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(builder, args[0], p.dtype), typ=ELEMENTS[p.dtype])

    return p.dtype(p), generate


@intrinsic
def poke(context: Any, p: Any, value: Any) -> Any:
    """The element at p becomes `value`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _address(builder, args[0], p.dtype))
        return context.get_dummy_value()

    return types.void(p, p.dtype), generate


@intrinsic(prefer_literal=True)
def rows_at(context: Any, p: Any, offsets: Any, rows: Any) -> Any:
    """The addresses p + offsets[0], p + offsets[1], ...; `offsets` points to int64."""
    result = Rows(p.dtype, rows.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base, table, _ = args
        r = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(result.rows):
            offset = builder.load(_address(builder, table, types.int64, I64(i)), typ=I64)
            r = builder.insert_value(r, builder.add(base, builder.mul(offset, I64(BYTES[p.dtype]))), i)
        return r

    return result(p, offsets, rows), generate


# Vectors ----------------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def load(context: Any, p: Any, lanes: Any) -> Any:
    """The vector at p."""
    result = Vector(p.dtype, lanes.literal_value)
    return result(p, lanes), lambda context, builder, signature, args: _read(builder, args[0], result, I64(0))


@intrinsic(prefer_literal=True)
def load_first(context: Any, p: Any, count: Any, lanes: Any) -> Any:
    """The first `count` elements at p, zeros after them; memory behind them is not touched."""
    result = Vector(p.dtype, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _read_masked(builder, args[0], result, _mask(builder, args[1], result.lanes))

    return result(p, types.intp, lanes), generate


@intrinsic
def load_first_or(context: Any, p: Any, count: Any, others: Any) -> Any:
    """The first `count` elements at p, the lanes of `others` after them; memory behind them is not touched."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _read_masked(builder, args[0], others, _mask(builder, args[1], others.lanes), args[2])

    return others(p, types.intp, others), generate


@intrinsic
def store(context: Any, p: Any, v: Any) -> Any:
    """The vector to p."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _write(builder, args[1], args[0], v, I64(0))
        return context.get_dummy_value()

    return types.void(p, v), generate


def _store_masked(builder: Any, vector: Any, p: Any, t: Any, count: Any) -> None:
    arguments = [vector, _address(builder, p, t.dtype), I32(BYTES[t.dtype]), _mask(builder, count, t.lanes)]
    _call(builder, f"llvm.masked.store.{_suffix(t)}.p0", ir.VoidType(), arguments)


@intrinsic
def store_first(context: Any, p: Any, v: Any, count: Any) -> Any:
    """The first `count` elements of the vector to p; memory behind them is not touched."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store_masked(builder, args[1], args[0], v, args[2])
        return context.get_dummy_value()

    return types.void(p, v, types.intp), generate


@intrinsic(prefer_literal=True)
def splat(context: Any, scalar: Any, lanes: Any) -> Any:
    """A vector of one value."""
    result = Vector(scalar, lanes.literal_value)
    return result(scalar, lanes), lambda context, builder, signature, args: _splat(builder, args[0], result.lanes)


@infer_global(operator.add)
@infer_global(operator.sub)
@infer_global(operator.mul)
class _LaneByLane(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
            return signature(args[0], args[0], args[0])
        return None


@lower_builtin(operator.add, Vector, Vector)
def _lower_add(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if sig.return_type.dtype in INTEGERS:
        return builder.add(*args)
    return builder.fadd(*args, flags=("contract",))


@lower_builtin(operator.sub, Vector, Vector)
def _lower_subtract(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fsub(*args, flags=("contract",))


@lower_builtin(operator.mul, Vector, Vector)
def _lower_multiply(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fmul(*args, flags=("contract",))


@intrinsic
def scaled(context: Any, factor: Any, v: Any) -> Any:
    """A scalar times a vector; added to another vector, LLVM makes one instruction of it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factor = _splat(builder, args[0], v.lanes)
        if v.dtype in INTEGERS:
            return builder.mul(factor, args[1])
        return builder.fmul(factor, args[1], flags=("contract",))

    return v(v.dtype, v), generate


@intrinsic
def larger(context: Any, a: Any, b: Any) -> Any:
    """The larger, lane by lane; of equals a, and a NaN in either stays."""
    return a(a, a), _extreme(">", a.dtype)


@intrinsic
def smaller(context: Any, a: Any, b: Any) -> Any:
    """The smaller, lane by lane; of equals a, and a NaN in either stays."""
    return a(a, a), _extreme("<", a.dtype)


def _compared(builder: Any, comparison: str, a: Any, b: Any, dtype: Any) -> Any:
    """Whether a > b, or a < b, lane by lane; never where one is NaN."""
    if dtype in types.real_domain:
        return builder.fcmp_ordered(comparison, a, b)
    return (builder.icmp_signed if dtype.signed else builder.icmp_unsigned)(comparison, a, b)


def _extreme(comparison: str, dtype: Any) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        best = builder.select(_compared(builder, comparison, b, a, dtype), b, a)
        if dtype in INTEGERS:
            return best
        # A quiet NaN for b's own: with b itself LLVM would join the two choices into one that is slower.
        bits = ir.VectorType(ir.IntType(8 * BYTES[dtype]), best.type.count)
        quiet = builder.or_(builder.bitcast(b, bits), ir.Constant(bits, [QUIET[BYTES[dtype]]] * bits.count))
        return builder.select(builder.fcmp_unordered("uno", b, b), builder.bitcast(quiet, best.type), best)

    return generate


@intrinsic
def divided(context: Any, a: Any, b: Any) -> Any:
    """The quotient, lane by lane."""
    return a(a, a), lambda context, builder, signature, args: builder.fdiv(*args)


# Values with positions: of equal values, and of NaN, the one at the lower position is the better.


@intrinsic
def larger_first(context: Any, a: Any, at_a: Any, b: Any, at_b: Any) -> Any:
    """The lanes where b at position at_b is better than a at at_a: larger, or NaN, or first of equals."""
    return Vector(types.boolean, a.lanes)(a, at_a, b, at_b), _better(">", a.dtype)


@intrinsic
def smaller_first(context: Any, a: Any, at_a: Any, b: Any, at_b: Any) -> Any:
    """The lanes where b at position at_b is better than a at at_a: smaller, or NaN, or first of equals."""
    return Vector(types.boolean, a.lanes)(a, at_a, b, at_b), _better("<", a.dtype)


def _better(comparison: str, dtype: Any) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, at_a, b, at_b = args
        beats, earlier = _compared(builder, comparison, b, a, dtype), builder.icmp_signed("<", at_b, at_a)
        if dtype in INTEGERS:
            return builder.or_(beats, builder.and_(builder.icmp_signed("==", a, b), earlier))
        no_number_a, no_number_b = builder.fcmp_unordered("uno", a, a), builder.fcmp_unordered("uno", b, b)
        alike = builder.or_(builder.fcmp_ordered("==", a, b), builder.and_(no_number_a, no_number_b))
        beats = builder.or_(beats, builder.and_(no_number_b, builder.not_(no_number_a)))
        return builder.or_(beats, builder.and_(alike, earlier))

    return generate


@intrinsic
def chosen(context: Any, mask: Any, a: Any, b: Any) -> Any:
    """The lanes of a where the mask is set, of b elsewhere."""
    return a(mask, a, a), lambda context, builder, signature, args: builder.select(*args)


@intrinsic(prefer_literal=True)
def numbered(context: Any, start: Any, step: Any, lanes: Any) -> Any:
    """32-bit integers start, start + step, ..."""
    result = Vector(types.int32, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first, apart = (_splat(builder, builder.trunc(value, I32), result.lanes) for value in args[:2])
        lane = ir.Constant(ir.VectorType(I32, result.lanes), list(range(result.lanes)))
        return builder.add(first, builder.mul(apart, lane))

    return result(types.intp, types.intp, lanes), generate


@intrinsic
def store_first_wide(context: Any, p: Any, v: Any, count: Any) -> Any:
    """The first `count` integers of the vector to p, as int64."""
    wide = Vector(types.int64, v.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store_masked(builder, builder.sext(args[1], _vector_of(wide)), args[0], wide, args[2])
        return context.get_dummy_value()

    return types.void(p, v, types.intp), generate


@intrinsic
def magnitude(context: Any, v: Any) -> Any:
    """The absolute value, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, f"llvm.fabs.{_suffix(v)}", args[0].type, [args[0]])

    return v(v), generate


@intrinsic
def square(context: Any, v: Any) -> Any:
    """v * v, lane by lane; added to another vector, LLVM makes one instruction of it."""
    return v(v), lambda context, builder, signature, args: builder.fmul(args[0], args[0], flags=("contract",))


@intrinsic
def root(context: Any, v: Any) -> Any:
    """The square root, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, f"llvm.sqrt.{_suffix(v)}", args[0].type, [args[0]])

    return v(v), generate


@intrinsic
def every_second(context: Any, a: Any, b: Any) -> Any:
    """The even elements of two vectors that follow each other in memory."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.shuffle_vector(*args, ir.Constant(ir.VectorType(I32, a.lanes), [2 * i for i in range(a.lanes)]))

    return a(a, a), generate


@intrinsic
def low_half(context: Any, v: Any) -> Any:
    """The first half of the lanes."""
    return Vector(v.dtype, v.lanes // 2)(v), _part(range(v.lanes // 2))


@intrinsic
def high_half(context: Any, v: Any) -> Any:
    """The second half of the lanes."""
    return Vector(v.dtype, v.lanes // 2)(v), _part(range(v.lanes // 2, v.lanes))


def _part(lanes: range) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.shuffle_vector(args[0], args[0], ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))

    return generate


@intrinsic
def first(context: Any, v: Any) -> Any:
    """The first lane."""
    return v.dtype(v), lambda context, builder, signature, args: builder.extract_element(args[0], I32(0))


# Tiles ------------------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def zeros(context: Any, p: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """A tile of zeros of the type that p points to."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(result), None)

    return result(p, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def repeated(context: Any, p: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """A tile whose every row is the vectors at p: a bias, before the sum."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        for j in range(result.columns):
            vector = _read(builder, args[0], result, I64(j * result.lanes))
            for i in range(result.rows):
                t = builder.insert_value(t, vector, i * result.columns + j)
        return t

    return result(p, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def load_tile(context: Any, p: Any, step: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """The tile of p[i * step + j * lanes:][:lanes]."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(result.rows):
            for j in range(result.columns):
                offset = builder.add(builder.mul(args[1], I64(i)), I64(j * result.lanes))
                t = builder.insert_value(t, _read(builder, args[0], result, offset), i * result.columns + j)
        return t

    return result(p, types.intp, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def load_first_rows(context: Any, p: Any, offsets: Any, count: Any, width: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """The tile whose row i is p[offsets[i]:][:width], zeros after; zeros for the rows i >= count."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p, table, count, width, *_ = args
        t = ir.Constant(context.get_value_type(result), None)
        for i in range(result.rows):
            offset = builder.load(_address(builder, table, types.int64, I64(i)), typ=I64)
            row = builder.add(p, builder.mul(offset, I64(BYTES[result.dtype])))
            wanted = builder.select(builder.icmp_signed("<", I64(i), count), width, I64(0))
            for j in range(result.columns):
                here = builder.add(row, I64(j * result.lanes * BYTES[result.dtype]))
                mask = _mask(builder, builder.sub(wanted, I64(j * result.lanes)), result.lanes)
                t = builder.insert_value(t, _read_masked(builder, here, result, mask), i * result.columns + j)
        return t

    return result(p, offsets, types.intp, types.intp, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def load_transposed(context: Any, p: Any, step: Any, count: Any, width: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """The tile whose row i holds p[c * step + i] as element c, for i < count and c < width; zeros elsewhere."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p, step, count, width, *_ = args
        t = ir.Constant(context.get_value_type(result), None)
        for j in range(result.columns):
            for top in range(0, result.rows, result.lanes):
                loaded = []
                for lane in range(result.lanes):
                    c = j * result.lanes + lane
                    offset = builder.add(builder.mul(step, I64(c)), I64(top))
                    here = builder.add(p, builder.mul(offset, I64(BYTES[result.dtype])))
                    wanted = builder.select(builder.icmp_signed("<", I64(c), width), builder.sub(count, I64(top)), I64(0))
                    mask = _mask(builder, wanted, result.lanes)
                    loaded.append(_read_masked(builder, here, result, mask))
                rows_here = range(top, min(top + result.lanes, result.rows))
                for i, row in zip(rows_here, _transposed(builder, loaded, result.lanes), strict=False):
                    t = builder.insert_value(t, row, i * result.columns + j)
        return t

    return result(p, types.intp, types.intp, types.intp, rows, columns, lanes), generate


@intrinsic
def fma_outer(context: Any, tile: Any, rows: Any, offset: Any, b: Any) -> Any:
    """tile[i, j] += rows[i][offset] * b[j * lanes:][:lanes]"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, r, offset, b = args
        vectors = [_read(builder, b, tile, I64(j * tile.lanes)) for j in range(tile.columns)]
        for i in range(tile.rows):
            base = builder.inttoptr(builder.extract_value(r, i), ir.PointerType())
            address = builder.gep(base, [offset], source_etype=ELEMENTS[tile.dtype])
            row = _splat(builder, builder.load(address, typ=ELEMENTS[tile.dtype]), tile.lanes)
            for j, column in enumerate(vectors):
                k = i * tile.columns + j
                t = builder.insert_value(t, _fma(builder, row, column, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, rows, types.intp, b), generate


@intrinsic
def fma_shared(context: Any, tile: Any, w: Any, x: Any) -> Any:
    """tile[i, e] += w[i] * x[e]: each vector of x feeds every row."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, w, x = args
        vectors = [_read(builder, x, tile, I64(j * tile.lanes)) for j in range(tile.columns)]
        for i in range(tile.rows):
            tap = builder.load(_address(builder, w, tile.dtype, I64(i)), typ=ELEMENTS[tile.dtype])
            row = _splat(builder, tap, tile.lanes)
            for j, cells in enumerate(vectors):
                k = i * tile.columns + j
                t = builder.insert_value(t, _fma(builder, row, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, w, x), generate


@intrinsic
def fma_lanes(context: Any, tile: Any, w: Any, x: Any) -> Any:
    """tile[i, j] += w[i, j] * x[j], lane by lane; the vectors of w follow each other, as those of x do."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, w, x = args
        for j in range(tile.columns):
            cells = _read(builder, x, tile, I64(j * tile.lanes))
            for i in range(tile.rows):
                k = i * tile.columns + j
                taps = _read(builder, w, tile, I64(k * tile.lanes))
                t = builder.insert_value(t, _fma(builder, taps, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, w, x), generate


@intrinsic(prefer_literal=True)
def fma_grouped(context: Any, tile: Any, x: Any, x_step: Any, w: Any, w_step: Any, taps: Any, stride: Any, group: Any) -> Any:
    """tile[i, 0] += sum over s < taps, g < group of x[(i * stride + s) * x_step:][g of each lane's group] * w[s, g]

    Each vector of x is loaded once and feeds every row whose window it is in. Lanes are channels in groups of `group`, inputs
    and outputs alike; the rows of w, [s][g], lie `w_step` apart.
    """
    count, apart, size = taps.literal_value, stride.literal_value, group.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, x_step, w, w_step, *_ = args
        weights = [_read(builder, w, tile, builder.mul(w_step, I64(row))) for row in range(count * size)]
        lanes = range(tile.lanes)
        for column in range((tile.rows - 1) * apart + count):
            users = [(i, column - i * apart) for i in range(tile.rows) if 0 <= column - i * apart < count]
            if not users:
                continue
            cell = _read(builder, x, tile, builder.mul(x_step, I64(column)))
            for g in range(size):
                chosen = ir.Constant(ir.VectorType(I32, tile.lanes), [lane // size * size + g for lane in lanes])
                spread = builder.shuffle_vector(cell, cell, chosen) if size > 1 else cell
                for i, s in users:
                    total = _fma(builder, spread, weights[s * size + g], builder.extract_value(t, i), tile)
                    t = builder.insert_value(t, total, i)
        return t

    return tile(tile, x, types.intp, w, types.intp, taps, stride, group), generate


@intrinsic(prefer_literal=True)
def first_values(context: Any, p: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """A tile whose row i is p[i] everywhere."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(result.rows):
            value = builder.load(_address(builder, args[0], result.dtype, I64(i)), typ=ELEMENTS[result.dtype])
            vector = _splat(builder, value, result.lanes)
            for j in range(result.columns):
                t = builder.insert_value(t, vector, i * result.columns + j)
        return t

    return result(p, rows, columns, lanes), generate


@intrinsic
def clip(context: Any, tile: Any, low: Any, high: Any) -> Any:
    """min(max(v, low), high), a NaN stays"""

    def clipped(builder: Any, v: Any, bounds: list[Any]) -> Any:
        low, high = bounds
        v = builder.select(_compared(builder, "<", v, low, tile.dtype), low, v)
        return builder.select(_compared(builder, ">", v, high, tile.dtype), high, v)

    return tile(tile, tile.dtype, tile.dtype), _mapped(tile, clipped)


@intrinsic
def leaky(context: Any, tile: Any, slope: Any) -> Any:
    """v, or slope * v where that is negative"""

    def sloped(builder: Any, v: Any, slopes: list[Any]) -> Any:
        return builder.select(builder.fcmp_ordered("<", v, ir.Constant(v.type, None)), builder.fmul(v, slopes[0]), v)

    return tile(tile, tile.dtype), _mapped(tile, sloped)


@intrinsic
def hardswish(context: Any, tile: Any, three: Any, six: Any, sixth: Any) -> Any:
    """v * min(max(v + 3, 0), 6) / 6"""

    def gated(builder: Any, v: Any, constants: list[Any]) -> Any:
        three, six, sixth = constants
        zero, shifted = ir.Constant(v.type, None), builder.fadd(v, three)
        gate = builder.select(builder.fcmp_ordered("<", shifted, zero), zero, shifted)
        gate = builder.select(builder.fcmp_ordered(">", gate, six), six, gate)
        return builder.fmul(builder.fmul(v, gate), sixth)

    return tile(tile, tile.dtype, tile.dtype, tile.dtype), _mapped(tile, gated)


class _Exponential(NamedTuple):
    """Of exp(v) = 2**n * exp(r), n the whole number next to v / log(2): the figures of a float type.

    Attributes
    ----------
    fraction : int
        Bits of a fraction.
    most : float
        Where v is cut off: beyond it, exp is 0 or infinite.
    degree : int
        Of the series of exp(r): what is left out is below one rounding.
    high, low : float
        log(2) as the sum of two, of which n times the first is exact.
    """

    fraction: int
    most: float
    degree: int
    high: float
    low: float


_EXPONENTIALS = {
    types.float32: _Exponential(23, 110.0, 7, 0.693145751953125, 1.4286068203094173e-06),
    types.float64: _Exponential(52, 760.0, 13, 0.6931471803691238, 1.9082149292705877e-10),
}


def _exp(builder: Any, v: Any, t: Any) -> Any:
    """exp(v), lane by lane, to about one rounding; a NaN stays."""
    figures = _EXPONENTIALS[t.dtype]
    integer = ir.VectorType(ir.IntType(8 * BYTES[t.dtype]), t.lanes)

    def constant(value: Any, kind: Any = v.type) -> Any:
        return ir.Constant(kind, [value] * t.lanes)

    for comparison, bound in ((">", constant(figures.most)), ("<", constant(-figures.most))):
        v = builder.select(builder.fcmp_ordered(comparison, v, bound), bound, v)
    # In so large a float, the last bit of the fraction counts ones.
    shift = constant(1.5 * 2.0**figures.fraction)
    shifted = builder.fadd(builder.fmul(v, constant(1 / math.log(2))), shift)
    n = builder.fsub(shifted, shift)
    r = _fma(builder, n, constant(-figures.low), _fma(builder, n, constant(-figures.high), v, t), t)
    series = constant(1 / math.factorial(figures.degree))
    for k in range(figures.degree - 1, -1, -1):
        series = _fma(builder, series, r, constant(1 / math.factorial(k)), t)
    # 2**n in two factors, since one of them alone may lie outside the exponents of the type.
    whole = builder.sub(builder.bitcast(shifted, integer), builder.bitcast(shift, integer))
    half = builder.ashr(whole, constant(1, integer))
    bias = constant((1 << (8 * BYTES[t.dtype] - figures.fraction - 2)) - 1, integer)
    for exponent in (half, builder.sub(whole, half)):
        bits = builder.shl(builder.add(exponent, bias), constant(figures.fraction, integer))
        series = builder.fmul(series, builder.bitcast(bits, v.type))
    return series


@intrinsic
def silu(context: Any, tile: Any) -> Any:
    """v / (1 + exp(-v))"""

    def gated(builder: Any, v: Any, constants: list[Any]) -> Any:
        one = ir.Constant(v.type, [1.0] * tile.lanes)
        return builder.fdiv(v, builder.fadd(one, _exp(builder, builder.fneg(v), tile)))

    return tile(tile), _mapped(tile, gated)


@intrinsic
def store_rows(context: Any, tile: Any, p: Any, offsets: Any) -> Any:
    """p[offsets[i]:] = the vectors of row i; `offsets` points to int64"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, table = args
        for i in range(tile.rows):
            offset = builder.load(_address(builder, table, types.int64, I64(i)), typ=I64)
            row = builder.add(p, builder.mul(offset, I64(BYTES[tile.dtype])))
            for j in range(tile.columns):
                _write(builder, builder.extract_value(t, i * tile.columns + j), row, tile, I64(j * tile.lanes))
        return context.get_dummy_value()

    return types.void(tile, p, offsets), generate


@intrinsic
def store_first_rows(context: Any, tile: Any, p: Any, offsets: Any, count: Any, width: Any) -> Any:
    """p[offsets[i]:][:width] = row i, for the rows i < count; nothing else is touched"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, table, count, width = args
        for i in range(tile.rows):
            with builder.if_then(builder.icmp_signed("<", I64(i), count)):
                offset = builder.load(_address(builder, table, types.int64, I64(i)), typ=I64)
                row = builder.add(p, builder.mul(offset, I64(BYTES[tile.dtype])))
                for j in range(tile.columns):
                    here = builder.add(row, I64(j * tile.lanes * BYTES[tile.dtype]))
                    left = builder.sub(width, I64(j * tile.lanes))
                    _store_masked(builder, builder.extract_value(t, i * tile.columns + j), here, tile, left)
        return context.get_dummy_value()

    return types.void(tile, p, offsets, types.intp, types.intp), generate


@intrinsic
def store_tile(context: Any, tile: Any, p: Any, step: Any) -> Any:
    """p[i * step + j * lanes:][:lanes] = tile[i, j]"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step = args
        for i in range(tile.rows):
            for j in range(tile.columns):
                offset = builder.add(builder.mul(step, I64(i)), I64(j * tile.lanes))
                _write(builder, builder.extract_value(t, i * tile.columns + j), p, tile, offset)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp), generate


@intrinsic
def store_spans(context: Any, tile: Any, p: Any, step: Any, rows: Any, count: Any) -> Any:
    """p[i * step:][:count] = the first elements of row i, for the rows i < rows; nothing else is touched"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step, rows, count = args
        for i in range(tile.rows):
            with builder.if_then(builder.icmp_signed("<", I64(i), rows)):
                row = builder.add(p, builder.mul(step, I64(i * BYTES[tile.dtype])))
                for j in range(tile.columns):
                    here = builder.add(row, I64(j * tile.lanes * BYTES[tile.dtype]))
                    left = builder.sub(count, I64(j * tile.lanes))
                    _store_masked(builder, builder.extract_value(t, i * tile.columns + j), here, tile, left)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp, types.intp, types.intp), generate


def _transposed(builder: Any, vectors: list[Any], lanes: int) -> list[Any]:
    """`lanes` vectors as the columns of what they were the rows of, by log2(lanes) rounds of shuffles."""
    half = 1
    while half < lanes:
        low = [i if not i & half else lanes + (i ^ half) for i in range(lanes)]
        high = [i | half if not i & half else lanes + i for i in range(lanes)]
        masks = [ir.Constant(ir.VectorType(I32, lanes), chosen) for chosen in (low, high)]
        result = list(vectors)
        for i in range(lanes):
            if not i & half:
                pair = vectors[i], vectors[i | half]
                result[i] = builder.shuffle_vector(*pair, masks[0])
                result[i | half] = builder.shuffle_vector(*pair, masks[1])
        vectors, half = result, 2 * half
    return vectors


@intrinsic
def store_transposed(context: Any, tile: Any, p: Any, step: Any, count: Any, width: Any) -> Any:
    """p[c * step + i] = element c of row i, for the rows i < count and the elements c < width

    `lanes` rows at a time are transposed in registers; rows beyond the tile's count as undefined and are not stored.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step, count, width = args
        undefined = ir.Constant(_vector_of(tile), ir.Undefined)
        for j in range(tile.columns):
            for top in range(0, tile.rows, tile.lanes):
                rows = range(top, min(top + tile.lanes, tile.rows))
                vectors = [builder.extract_value(t, i * tile.columns + j) for i in rows]
                vectors += [undefined] * (tile.lanes - len(vectors))
                for lane, column in enumerate(_transposed(builder, vectors, tile.lanes)):
                    c = j * tile.lanes + lane
                    with builder.if_then(builder.icmp_signed("<", I64(c), width)):
                        offset = builder.add(builder.mul(step, I64(c)), I64(top))
                        here = builder.add(p, builder.mul(offset, I64(BYTES[tile.dtype])))
                        room = builder.sub(count, I64(top))
                        left = builder.select(builder.icmp_signed("<", room, I64(len(rows))), room, I64(len(rows)))
                        _store_masked(builder, column, here, tile, left)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp, types.intp, types.intp), generate
