"""What the operations are made of: LLVM instructions on addresses, vectors and masks."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I8, I32, I64, INTEGERS, Stored, Vector, vector_of
from fastconv.machine import host


def address_of(builder: Any, p: Any, dtype: Any, offset: Any = None) -> Any:
    """LLVM's pointer to the element `offset` elements behind address p."""
    at = p if offset is None else builder.add(p, builder.mul(offset, I64(BYTES[dtype])))
    return builder.inttoptr(at, ir.PointerType())


def widened(builder: Any, v: Any, stored: Any, lanes: int = 0) -> Any:
    """Elements of a Stored type, a vector of them or one, as float32."""
    one, whole = ir.FloatType(), I32
    if lanes:
        one, whole = ir.VectorType(one, lanes), ir.VectorType(whole, lanes)
    if stored.memory == types.float16:
        return builder.fpext(v, one)
    v = (builder.sext if stored.memory.signed else builder.zext)(v, whole)  # what every processor converts
    return builder.sitofp(v, one)


def narrowed(builder: Any, v: Any, stored: Any, lanes: int = 0) -> Any:
    """The reverse: rounded to the nearest, of two to the even one; to integers, of what is one of theirs."""
    one, whole = ELEMENTS[stored], I32
    if lanes:
        one, whole = ir.VectorType(one, lanes), ir.VectorType(whole, lanes)
    return builder.fptrunc(v, one) if stored.memory == types.float16 else builder.trunc(builder.fptosi(v, whole), one)


def in_memory(stored: Any, lanes: int) -> tuple[Any, Any]:
    """LLVM's types of a vector of a Stored type, and of its bits."""
    return ir.VectorType(ELEMENTS[stored], lanes), ir.VectorType(ir.IntType(8 * BYTES[stored]), lanes)


def read(builder: Any, p: Any, t: Any, offset: Any, stored: Any = None) -> Any:
    """The vector `offset` elements behind p, which are there as t has them, or `stored` otherwise."""
    if isinstance(stored, Stored):
        kind, _ = in_memory(stored, t.lanes)
        v = builder.load(address_of(builder, p, stored, offset), typ=kind, align=BYTES[stored])
        return widened(builder, v, stored, t.lanes)
    return builder.load(address_of(builder, p, t.dtype, offset), typ=vector_of(t), align=BYTES[t.dtype])


def write(builder: Any, vector: Any, p: Any, t: Any, offset: Any, stored: Any = None) -> None:
    """The vector to the address `offset` elements behind p, where they are as t has them, or `stored` otherwise."""
    if isinstance(stored, Stored):
        vector = narrowed(builder, vector, stored, t.lanes)
    builder.store(vector, address_of(builder, p, stored or t.dtype, offset), align=BYTES[stored or t.dtype])


def read_one(builder: Any, p: Any, stored: Any, offset: Any = None) -> Any:
    """The element `offset` elements behind p, as registers hold it."""
    one = builder.load(address_of(builder, p, stored, offset), typ=ELEMENTS[stored])
    return widened(builder, one, stored) if isinstance(stored, Stored) else one


def write_one(builder: Any, value: Any, p: Any, stored: Any) -> None:
    """An element, as registers hold it, to p."""
    value = narrowed(builder, value, stored) if isinstance(stored, Stored) else value
    builder.store(value, address_of(builder, p, stored))


def splatted(builder: Any, scalar: Any, lanes: int) -> Any:
    """A vector of one scalar in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def suffix(t: Any) -> str:
    """The end of an LLVM intrinsic's name for vectors of this type."""
    return f"v{t.lanes}{'f' if t.dtype in types.real_domain else 'i'}{8 * BYTES[t.dtype]}"


def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """A call of an LLVM intrinsic by its mangled name: llvmlite's own helper takes no vector types."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def fused(builder: Any, a: Any, b: Any, c: Any, t: Any) -> Any:
    """a * b + c, fused where the machine can; llvm.fma would call the C library where it cannot. Integers wrap."""
    if t.dtype in INTEGERS:
        return builder.add(builder.mul(a, b), c)
    return call(builder, f"llvm.fmuladd.{suffix(t)}", a.type, [a, b, c])


def masks_are_cheap() -> bool:
    """Whether a masked store takes about as long as a whole one where kernels are compiled for."""
    return host().masks


def mask_of(builder: Any, count: Any, lanes: int) -> Any:
    """Lanes 0 .. count - 1, compared in 32 bits, or in 8 where there are many: such a vector is no wider than what it masks."""
    numbers, bound = numbers_and(builder, count, lanes)
    return builder.icmp_signed("<", numbers, bound)


def numbers_and(builder: Any, bound: Any, lanes: int) -> tuple[Any, Any]:
    """The numbers of lanes, and a vector of a bound on them."""
    number = I32 if lanes <= 16 else I8
    bound = builder.select(builder.icmp_signed("<", bound, I64(0)), I64(0), bound)
    bound = builder.trunc(builder.select(builder.icmp_signed(">", bound, I64(lanes)), I64(lanes), bound), number)
    return ir.Constant(ir.VectorType(number, lanes), list(range(lanes))), splatted(builder, bound, lanes)


def mask_between(builder: Any, low: Any, high: Any, lanes: int) -> Any:
    """Lanes low .. high - 1."""
    if host().isa != "avx2":
        return builder.and_(mask_of(builder, high, lanes), builder.not_(mask_of(builder, low, lanes)))
    # Its masks are signs. LLVM packs what it knows as a mask where a loop keeps it, and unpacks it at each use.
    (numbers, above), (_, below) = (numbers_and(builder, bound, lanes) for bound in (high, low))
    signs = builder.and_(builder.sub(numbers, above), builder.not_(builder.sub(numbers, below)))
    return builder.icmp_signed("<", signs, ir.Constant(signs.type, None))


def read_masked(builder: Any, p: Any, t: Any, mask: Any, others: Any = None, stored: Any = None) -> Any:
    """The lanes of `mask` at p, those of `others` or zeros elsewhere; no other memory is touched."""
    if isinstance(stored, Stored):
        kind, bits = in_memory(stored, t.lanes)
        arguments = [address_of(builder, p, stored), I32(BYTES[stored]), mask, ir.Constant(bits, None)]
        name = f"llvm.masked.load.v{t.lanes}i{8 * BYTES[stored]}.p0"
        found = widened(builder, builder.bitcast(call(builder, name, bits, arguments), kind), stored, t.lanes)
        return found if others is None else builder.select(mask, found, others)
    others = ir.Constant(vector_of(t), None) if others is None else others
    arguments = [address_of(builder, p, t.dtype), I32(BYTES[t.dtype]), mask, others]
    return call(builder, f"llvm.masked.load.{suffix(t)}.p0", others.type, arguments)


def opaque(builder: Any, p: Any, *before: Any) -> Any:
    """The address p, of which LLVM does not know that it is p: what is read there is not what was read before.

    It knows only that p comes of the values `before`, integers or vectors, which are found before anything is read there.
    """
    vectors = "w" if builder.module.triple.startswith(("aarch64", "arm")) else "v"  # the letter of any vector register
    kinds = [vectors if isinstance(value.type, ir.VectorType) else "r" for value in before]
    kind = ir.FunctionType(I64, [I64, *(value.type for value in before)])
    return builder.asm(kind, "", ",".join(("=r", "0", *kinds)), [p, *before], False)


def rounded(builder: Any, v: Any) -> Any:
    """The vector, of which LLVM does not know how it was made: a product is rounded before anything is added to it.

    Without this it would become a fused multiply-add, as LLVM is told to make wherever it can.
    """
    constraint = "=w,0" if builder.module.triple.startswith(("aarch64", "arm")) else "=v,0"
    return builder.asm(ir.FunctionType(v.type, [v.type]), "", constraint, [v], False)


def mapped(tile: Any, function: Callable[[Any, Any, list[Any]], Any]) -> Any:
    """The code of an operation on a vector, or on every vector of a tile, with scalars splatted."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, *scalars = args
        splats = [splatted(builder, scalar, tile.lanes) for scalar in scalars]
        if isinstance(tile, Vector):
            return function(builder, t, splats)
        for k in range(tile.rows * tile.columns):
            t = builder.insert_value(t, function(builder, builder.extract_value(t, k), splats), k)
        return t

    return generate


def write_first(builder: Any, vector: Any, p: Any, t: Any, count: Any, stored: Any = None, most: int = 0) -> None:
    """The first `count` lanes to p, of which `most` may be asked for, or all; no other memory is touched."""
    most = most or t.lanes
    if masks_are_cheap():
        count = builder.select(builder.icmp_signed("<", count, I64(most)), count, I64(most))
        write_lanes(builder, vector, p, t, mask_of(builder, count, t.lanes), stored)
        return
    if isinstance(stored, Stored):
        vector = narrowed(builder, vector, stored, t.lanes)
    kind = stored or t.dtype
    with builder.if_else(builder.icmp_signed(">=", count, I64(most))) as (then, otherwise):
        with then:
            if most == t.lanes:
                builder.store(vector, address_of(builder, p, kind), align=BYTES[kind])
            else:
                write_in_halves(builder, vector, p, kind, I64(most))
        with otherwise:
            count = builder.select(builder.icmp_signed("<", count, I64(0)), I64(0), count)
            write_in_halves(builder, vector, p, kind, count)


def write_in_halves(builder: Any, vector: Any, p: Any, kind: Any, count: Any) -> None:
    """The first lanes to p, some and not all: a half of them where so many are left, then a half of that, and so on."""
    size = vector.type.count // 2
    while size:
        low, high = (
            builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(I32, size), list(range(at, at + size))))
            for at in (0, size)
        )
        there, before = builder.icmp_unsigned("!=", builder.and_(count, I64(size)), I64(0)), builder.block
        with builder.if_then(there):
            builder.store(low, address_of(builder, p, kind), align=BYTES[kind])
            behind, inside = builder.add(p, I64(size * BYTES[kind])), builder.block
        vector, at = builder.phi(low.type), builder.phi(I64)
        for value, place, block in ((low, p, before), (high, behind, inside)):
            vector.add_incoming(value, block)
            at.add_incoming(place, block)
        p, size = at, size // 2


def write_lanes(builder: Any, vector: Any, p: Any, t: Any, mask: Any, stored: Any = None) -> None:
    """The lanes of `mask` to p; no other memory is touched."""
    if isinstance(stored, Stored):
        _, bits = in_memory(stored, t.lanes)
        found = builder.bitcast(narrowed(builder, vector, stored, t.lanes), bits)
        arguments = [found, address_of(builder, p, stored), I32(BYTES[stored]), mask]
        call(builder, f"llvm.masked.store.v{t.lanes}i{8 * BYTES[stored]}.p0", ir.VoidType(), arguments)
        return
    arguments = [vector, address_of(builder, p, t.dtype), I32(BYTES[t.dtype]), mask]
    call(builder, f"llvm.masked.store.{suffix(t)}.p0", ir.VoidType(), arguments)


def compared(builder: Any, comparison: str, a: Any, b: Any, dtype: Any) -> Any:
    """Whether a > b, or a < b, lane by lane; never where one is NaN."""
    if dtype in types.real_domain:
        return builder.fcmp_ordered(comparison, a, b)
    return (builder.icmp_signed if dtype.signed else builder.icmp_unsigned)(comparison, a, b)


def better(builder: Any, comparison: str, one: Any, other: Any, dtype: Any) -> Any:
    """The lanes where the other pair (values, positions) is better: by comparison, or NaN, or the first of those alike."""
    (a, at_a), (b, at_b) = one, other
    beats, earlier = compared(builder, comparison, b, a, dtype), builder.icmp_signed("<", at_b, at_a)
    if dtype in INTEGERS:
        return builder.or_(beats, builder.and_(builder.icmp_signed("==", a, b), earlier))
    no_number_a, no_number_b = builder.fcmp_unordered("uno", a, a), builder.fcmp_unordered("uno", b, b)
    alike = builder.or_(builder.fcmp_ordered("==", a, b), builder.and_(no_number_a, no_number_b))
    beats = builder.or_(beats, builder.and_(no_number_b, builder.not_(no_number_a)))
    return builder.or_(beats, builder.and_(alike, earlier))


def rest_of(taps: int) -> int:
    """Cells, four or eight, that are read behind two vectors for the windows two cells apart that begin in them."""
    return 0 if taps <= 2 else 4 if taps <= 6 else 8


def parts_of(taps: int, tile: Any) -> list[tuple[int, Any]]:
    """(first cell, type) of the vectors of a row that hold the cells of windows two cells apart."""
    rest = [(2 * tile.lanes, Vector(tile.dtype, rest_of(taps)))] if taps > 2 else []
    return [(0, tile), (tile.lanes, tile), *rest]


def resized(builder: Any, v: Any, size: int) -> Any:
    """The vector with lanes behind its own, of any value."""
    mask = ir.Constant(ir.VectorType(I32, size), [i if i < v.type.count else 0 for i in range(size)])
    return v if v.type.count == size else builder.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), mask)


def two_apart(builder: Any, parts: list[Any], taps: int, tile: Any) -> list[Any]:
    """The cells under each tap of windows two cells apart, of the vectors that parts_of names."""
    count = tile.lanes
    halves = [ir.Constant(ir.VectorType(I32, count), [2 * lane + odd for lane in range(count)]) for odd in (0, 1)]
    cells = [builder.shuffle_vector(parts[0], parts[1], half) for half in halves[:taps]]
    if taps > 2:
        size = max(count, parts[2].type.count)
        behind = resized(builder, parts[2], size)
        whole = [resized(builder, half, size) for half in cells]
        for s in range(2, taps):
            at = [e + s // 2 for e in range(count)]  # in the half, and then in what follows it
            chosen = [i if i < count else size + 2 * (i - count) + s % 2 for i in at]
            mask = ir.Constant(ir.VectorType(I32, count), chosen)
            cells.append(builder.shuffle_vector(whole[s % 2], behind, mask))
    return cells


def begins_of(taps: int, lanes: int, every: int) -> range:
    """The first cells of the vectors of a row that hold the cells of windows more than two cells apart."""
    return range(0, max(every * lanes, every * (lanes - 1) + taps), lanes)


def far_apart(builder: Any, parts: list[Any], taps: int, lanes: int, every: int) -> list[Any]:
    """The cells under each tap of windows `every` cells apart, of the vectors that follow each other from the first cell on."""
    nothing = ir.Constant(parts[0].type, ir.Undefined)
    blocks = [*parts, *[nothing] * (2 * every - len(parts))]
    first, behind = (strided(builder, block, lanes) for block in (blocks[:every], blocks[every:]))
    cells = first[:taps]
    for s in range(every, taps):
        mask = ir.Constant(ir.VectorType(I32, lanes), [e + s // every for e in range(lanes)])
        cells.append(builder.shuffle_vector(first[s % every], behind[s % every], mask))
    return cells


def strided(builder: Any, vectors: list[Any], lanes: int) -> list[Any]:
    """Every n-th cell of n vectors that follow each other, from the first on, from the second on, and so forth.

    Two vectors give their even and their odd lanes. Of an odd number, no two cells that go together lie in the same lane: they
    are blended, and their lanes change once.
    """
    every, kind = len(vectors), ir.VectorType(I32, lanes)
    if every == 1:
        return vectors
    if every % 2 == 0:
        halves = []
        for odd in (0, 1):
            mask = ir.Constant(kind, [2 * e + odd for e in range(lanes)])
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            halves.append(strided(builder, [builder.shuffle_vector(*pair, mask) for pair in pairs], lanes))
        return [v for pair in zip(*halves, strict=True) for v in pair]
    found = []
    for s in range(every):
        places = [divmod(every * e + s, lanes) for e in range(lanes)]
        whose = {lane: vector for vector, lane in places}
        blend = vectors[whose[0]]
        for number in sorted({*whose.values()} - {whose[0]}):
            mask = [lane + lanes * (whose[lane] == number) for lane in range(lanes)]
            blend = builder.shuffle_vector(blend, vectors[number], ir.Constant(kind, mask))
        found.append(builder.shuffle_vector(blend, blend, ir.Constant(kind, [lane for _, lane in places])))
    return found


def transposed(builder: Any, vectors: list[Any], lanes: int) -> list[Any]:
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
