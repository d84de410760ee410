"""Minima and maxima of vectors as a text names them: a whole selection network in registers, as far as they hold it."""

from typing import Any

from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import compared, read, write
from fastconv.kernels.simd.vector.types import BYTES, I64, Vector


@intrinsic(prefer_literal=True)
def network(context: Any, cells: Any, plane: Any, line: Any, cell: Any, rows: Any, lanes: Any, text: Any) -> Any:
    """One vector of every value that a text names: words apart by spaces, each of which but the last kind makes a vector.

    ====== =================================================================
    cq.t.s the cells at cells + q * plane + t * line + s * cell
    rn.s   the values at rows + n + s * cell
    <i.j   the smaller of vectors i and j, >i.j the larger: none may be NaN
    =i.n   vector i to rows + n
    ====== =================================================================
    """
    t = Vector(rows.dtype, lanes.literal_value)
    words = text.literal_value.split()

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cells, plane, line, cell, rows, *_ = args
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
            else:
                a, b = (made[i] for i in numbers)
                made.append(builder.select(compared(builder, word[0], b, a, t.dtype), b, a))
        return context.get_dummy_value()

    return types.void(cells, types.intp, types.intp, types.intp, rows, lanes, text), generate
