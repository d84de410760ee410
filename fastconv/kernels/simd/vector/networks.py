"""Minima and maxima of vectors as a text names them, in registers as far as they hold them, or as tables do, in memory."""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import address_of, compared, read, write
from fastconv.kernels.simd.vector.types import BYTES, I32, I64, Vector


@intrinsic(prefer_literal=True)
def network(
    context: Any, cells: Any, plane: Any, line: Any, cell: Any, rows: Any, out: Any, step: Any, lanes: Any, text: Any
) -> Any:
    """One vector of every value that a text names: words apart by spaces, each of which but the last two kinds makes a vector.

    ====== =================================================================
    cq.t.s the cells at cells + q * plane + t * line + s * cell
    rn.s   the values at rows + n + s * cell
    <i.j   the smaller of vectors i and j, >i.j the larger: none may be NaN
    =i.n   vector i to rows + n
    oi.k   vector i to out + k * step
    ====== =================================================================
    """
    t = Vector(rows.dtype, lanes.literal_value)
    words = text.literal_value.split()

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cells, plane, line, cell, rows, out, step, *_ = args
        made: list[Any] = []
        steps: dict[tuple[Any, int], Any] = {}

        def times(step: Any, count: int) -> Any:
            if (step, count) not in steps:
                steps[step, count] = builder.mul(step, I64(count * BYTES[t.dtype]))
            return steps[step, count]

        for word in words:
            numbers = [int(number) for number in word[1:].split(".")]
            if word[0] == "c":
                q, row, s = numbers
                at = builder.add(builder.add(cells, times(cell, s)), builder.add(times(plane, q), times(line, row)))
                made.append(read(builder, at, t, I64(0)))
            elif word[0] == "r":
                made.append(read(builder, builder.add(rows, times(cell, numbers[1])), t, I64(numbers[0])))
            elif word[0] == "=":
                write(builder, made[numbers[0]], rows, t, I64(numbers[1]))
            elif word[0] == "o":
                write(builder, made[numbers[0]], builder.add(out, times(step, numbers[1])), t, I64(0))
            else:
                a, b = (made[i] for i in numbers)
                made.append(builder.select(compared(builder, word[0], b, a, t.dtype), b, a))
        return context.get_dummy_value()

    return types.void(cells, types.intp, types.intp, types.intp, rows, out, types.intp, lanes, text), generate


@intrinsic(prefer_literal=True)
def network_step(
    context: Any, memory: Any, codes: Any, shifts: Any, count: Any, lanes: Any, low: Any, high: Any, kind_bits: Any
) -> Any:
    """`count` vectors, side by side, of the smaller and of the larger of two values; `low` and `high` tell which is asked.

    `codes` points to four of int32: where the two are read, and where the smaller and the larger are written. Each has a kind
    in its last bits, and elements behind memory + shifts[kind] in the others.
    """
    t = Vector(memory.dtype, lanes.literal_value)
    bits = kind_bits.literal_value
    asked = [(2, "<")] * low.literal_value + [(3, ">")] * high.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        memory, codes, shifts, count, *_ = args

        def place(i: int) -> Any:
            code = builder.load(address_of(builder, codes, types.int32, I64(i)), typ=I32)
            kind = builder.zext(builder.and_(code, I32((1 << bits) - 1)), I64)
            shift = builder.load(address_of(builder, shifts, types.int64, kind), typ=I64)
            offset = builder.add(builder.sext(builder.ashr(code, I32(bits)), I64), shift)
            return builder.add(memory, builder.mul(offset, I64(BYTES[t.dtype])))

        a, b = place(0), place(1)
        targets = [(place(i), comparison) for i, comparison in asked]
        with cgutils.for_range(builder, count) as loop:
            at = builder.mul(loop.index, I64(t.lanes))
            one, other = read(builder, a, t, at), read(builder, b, t, at)
            for target, comparison in targets:
                best = builder.select(compared(builder, comparison, other, one, t.dtype), other, one)
                write(builder, best, target, t, at)
        return context.get_dummy_value()

    return types.void(memory, codes, shifts, types.intp, lanes, low, high, kind_bits), generate
