"""The code that reduces windows of a plane in registers, for the operations of windows.py."""

from collections.abc import Callable, Iterator
from functools import cache, reduce
from typing import Any

import numpy as np
from llvmlite import ir

from fastconv.kernels.simd.vector.building import (
    begins_of,
    better,
    compared,
    far_apart,
    mask_between,
    mask_of,
    opaque,
    parts_of,
    read_masked,
    splatted,
    two_apart,
)
from fastconv.kernels.simd.vector.norms import powered
from fastconv.kernels.simd.vector.types import BYTES, I32, I64, vector_of

ROW, BEYOND = 16, 2**31 - 1  # the code of a row, which are more than its taps, and one behind those of all cells


class Reducer:
    """The code that takes vectors into windows: the largest (order 1), the smallest (-1), where a NaN stays, or the sum (0).

    Of values as they are (power 0), or of powers of their magnitudes. A comparison alone loses a NaN in what is taken in, and
    one that also looks for it takes three times as long. So a tile is first reduced without care, while one comparison for two
    vectors tells whether a cell is NaN; if one is, the tile is reduced again, with care.
    """

    def __init__(self, builder: Any, tile: Any, order: int, power: int, stored: Any = None) -> None:
        self.builder, self.tile, self.power, self.careful = builder, tile, power, False
        self.stored = stored or tile.dtype  # the type of cells in memory
        self.comparison = {1: ">", -1: "<", 0: ""}[order]
        self.nan = ir.Constant(vector_of(tile), [np.nan] * tile.lanes)
        self.lost: Any = None
        self.before: list[Any] = []

    def entered(self, v: Any) -> Any:
        """A vector of cells as it goes into a window."""
        return powered(self.builder, v, self.power, self.tile) if self.power else v

    def joined(self, a: Any, b: Any) -> Any:
        """What two parts of a window have taken in: of equals a, which comes first."""
        if not self.comparison:
            return self.builder.fadd(a, b, flags=("contract",))
        best = self.builder.select(compared(self.builder, self.comparison, b, a, self.tile.dtype), b, a)
        if self.careful:
            best = self.builder.select(self.builder.fcmp_unordered("uno", b, b), self.nan, best)
        self.before = [best] if self.lost is None else [best, self.lost]
        return best

    def place(self, source: Any) -> Any:
        """Where cells lie: they are read after what was joined before, and with care, they are read again.

        LLVM would else read all rows first to look at them, and keep them in memory of its own, since registers do not do.
        """
        return opaque(self.builder, source, *self.before) if self.comparison else source

    def look_at(self, vectors: list[Any]) -> None:
        """Count whether a cell of these vectors is NaN: with one mask for all rows, LLVM would first read them all."""
        if not self.comparison or self.careful:
            return
        builder = self.builder
        pairs = zip(vectors[::2], vectors[1::2] + vectors[-1:], strict=False)
        fine = reduce(builder.and_, [builder.fcmp_ordered("ord", a, b) for a, b in pairs])
        mask = builder.bitcast(fine, ir.IntType(self.tile.lanes))
        lost = builder.zext(builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, -1)), I32)
        self.lost = lost if self.lost is None else builder.add(self.lost, lost)

    def two_apart(self, parts: list[Any], taps: int) -> list[Any]:
        """The cells under each tap of windows two cells apart, of the parts of a row that parts_of names."""
        cells = two_apart(self.builder, parts, taps, self.tile)
        self.look_at([*parts[:2], *cells[max(2, taps - 2) :]])
        return cells

    def down(self, row: Callable[[int], Any], outputs: int, height: int, apart: int) -> Iterator[Any]:
        """The windows of `height` rows, `apart` from each other, one by one: of neighbours, what both hold is joined once.

        Windows i and i + 1 hold rows i + 1 to i + height - 1, which are joined in pairs that the next two windows hold as well.
        """
        row = cache(row)
        pair = cache(lambda k: self.joined(row(k), row(k + 1)))
        for i in range(0, outputs, 1 if apart > 1 or height == 1 else 2):
            if apart > 1 or height == 1:
                yield reduce(self.joined, (row(i * apart + t) for t in range(height)))
            elif i + 1 == outputs and height % 2 == 0:
                yield reduce(self.joined, (pair(k) for k in range(i, i + height, 2)))
            else:
                lone, both = row(i), [row(i + 1)] if height % 2 == 0 else []
                both += [pair(k) for k in range(i + 1 + len(both), i + height, 2)]
                shared = reduce(self.joined, both)
                yield self.joined(lone, shared)
                if i + 1 < outputs:
                    yield self.joined(shared, row(i + height))

    def across(self, row: Callable[[int], list[Any]], outputs: int, height: int, apart: int, taps: int) -> Iterator[Any]:
        """The windows of `height` rows and `taps` columns, `apart` on both axes: columns of cells are joined, and then those.

        The cells of a window are brought together once, not once a row: for windows that share little.
        """
        for i in range(outputs):
            columns = row(i * apart)
            for t in range(1, height):
                columns = [self.joined(*both) for both in zip(columns, row(i * apart + t), strict=True)]
            yield reduce(self.joined, far_apart(self.builder, columns, taps, self.tile.lanes, apart))

    def quick_or_careful(self, vectors: Callable[[], list[Any]]) -> list[Any]:
        """The vectors that a function gives, called again with care for where a cell is NaN."""
        builder, found = self.builder, vectors()
        if self.lost is not None:
            before, self.careful = builder.block, True
            with builder.if_then(builder.icmp_unsigned("!=", self.lost, I32(0)), likely=False):
                again, inside = vectors(), builder.block
            for k, (quick, slow) in enumerate(zip(list(found), again, strict=True)):
                found[k] = builder.phi(quick.type)
                found[k].add_incoming(quick, before)
                found[k].add_incoming(slow, inside)
        return found


class Placer(Reducer):
    """A Reducer of pairs: a vector of cells, and the codes of where they lie, ROW for each row and 1 for each tap.

    Of equals, and of NaN, the first stays. What lies outside has the code BEYOND, so that no cell is behind it; only with care
    are codes compared, and that is what a window calls for in which nothing is better than `empty`.
    """

    def joined(self, a: Any, b: Any) -> Any:
        builder = self.builder
        if self.careful:
            taken = better(builder, self.comparison, a, b, self.tile.dtype)
        else:
            taken = compared(builder, self.comparison, b[0], a[0], self.tile.dtype)
        best = builder.select(taken, b[0], a[0])
        code = builder.select(taken, b[1], a[1])
        whole = [code] if self.tile.lanes >= 4 else []  # LLVM has no register for two numbers
        self.before = [best, *whole] if self.lost is None else [best, *whole, self.lost]
        return best, code

    def placed(self, cells: list[Any], k: int, every: int, there: Any, columns: tuple[Any, Any]) -> list[Any]:
        """The cells of row k under taps with their codes; the row may be `there`, as its `columns` are."""
        builder, count, found = self.builder, self.tile.lanes, []
        beyond = ir.Constant(ir.VectorType(I32, count), [BEYOND] * count)
        for s, cell in enumerate(cells):
            code = ir.Constant(beyond.type, [ROW * k + s] * count)
            if self.careful:
                lane = ir.Constant(beyond.type, [every * e + s for e in range(count)])
                low, high = (splatted(builder, end, count) for end in columns)
                inside = builder.and_(builder.icmp_signed(">=", lane, low), builder.icmp_signed("<", lane, high))
                inside = builder.and_(inside, splatted(builder, there, count))
                code = builder.select(inside, code, beyond)
            found.append((cell, code))
        return found

    def number(self, code: Any, step: Any, every: int) -> Any:
        """Cells behind the tile's first one: rows lie `step` apart, and windows `every`."""
        builder, count = self.builder, self.tile.lanes
        row = builder.ashr(code, ir.Constant(code.type, [ROW.bit_length() - 1] * count))
        lane = builder.and_(code, ir.Constant(code.type, [ROW - 1] * count))
        lane = builder.add(lane, ir.Constant(code.type, [every * e for e in range(count)]))
        return builder.add(builder.mul(row, splatted(builder, builder.trunc(step, I32), count)), lane)

    def doubt(self, windows: list[Any], empty: Any, room: Any) -> None:
        """Count the windows of which the first `room` have found nothing better than `empty`."""
        builder, mask = self.builder, mask_of(self.builder, room, self.tile.lanes)
        for window in windows:
            none = builder.bitcast(builder.and_(builder.fcmp_ordered("==", window, empty), mask), ir.IntType(mask.type.count))
            self.lost = builder.add(self.lost, builder.zext(builder.icmp_unsigned("!=", none, ir.Constant(none.type, 0)), I32))


def tile_of(context: Any, builder: Any, result: Any, vectors: list[Any]) -> Any:
    """The vectors as a tile."""
    t = ir.Constant(context.get_value_type(result), ir.Undefined)
    for k, vector in enumerate(vectors):
        t = builder.insert_value(t, vector, k)
    return t


class Plane:
    """The code that reads a plane of which only some rows, and some cells of each, are there, as reduced_windows has it."""

    def __init__(self, reducer: Reducer, x: Any, step: Any, across: Any, rows: Any, spare: Any, cells: Any, empty: Any) -> None:
        builder = self.builder = reducer.builder
        self.stored = reducer.stored
        self.reducer, self.x, self.step, self.across, self.spare = reducer, x, step, across, spare
        self.first, self.last = (builder.extract_value(rows, i) for i in range(2))
        self.low, self.high = (builder.extract_value(cells, i) for i in range(2))
        self.empty, self.outside = empty, splatted(builder, empty, reducer.tile.lanes)
        self.vectors: dict[int, tuple[Any, Any]] = {}

    def vector(self, s: int, lanes: int) -> tuple[Any, Any]:
        """(bytes behind the first cell, mask) of the cells that begin at tap s: found once for all rows."""
        if s not in self.vectors:
            builder, at = self.builder, self.builder.mul(self.across, I64(s))
            mask = mask_between(builder, builder.sub(self.low, at), builder.sub(self.high, at), lanes)
            self.vectors[s] = builder.mul(at, I64(BYTES[self.stored])), mask
        return self.vectors[s]

    def there(self, k: int) -> Any:
        """Whether row k is."""
        after = self.builder.icmp_signed(">=", I64(k), self.first)
        return self.builder.and_(after, self.builder.icmp_signed("<", I64(k), self.last))

    def parts(self, k: int, parts: list[tuple[int, Any]]) -> list[Any]:
        """Parts of row k: (first cell, type) of each."""
        builder, tile = self.builder, self.reducer.tile
        source = builder.add(self.x, builder.mul(self.step, I64(k * BYTES[self.stored])))
        source = self.reducer.place(builder.select(self.there(k), source, self.spare))
        found = []
        for s, t in parts:
            shift, mask = self.vector(s, t.lanes)
            others = self.outside if t is tile else splatted(builder, self.empty, t.lanes)
            found.append(read_masked(builder, builder.add(source, shift), t, mask, others, self.stored))
        return found

    def cells(self, k: int, taps: int, every: int, beside: bool) -> list[Any]:
        """The cells of row k under each tap of windows one or two cells apart; `beside` if taps are neighbours."""
        tile = self.reducer.tile
        found = self.parts(k, [(s, tile) for s in range(taps)] if every == 1 else parts_of(taps, tile))
        if every == 2:
            return self.reducer.two_apart(found, taps)
        self.reducer.look_at(found[:: taps - 1] if beside and 1 < taps <= tile.lanes + 1 else found)
        return found

    def far_apart(self, k: int, taps: int, every: int) -> list[Any]:
        """The cells of row k that windows `every` cells apart lie in, as they go into a window."""
        tile = self.reducer.tile
        found = self.parts(k, [(s, tile) for s in begins_of(taps, tile.lanes, every)])
        self.reducer.look_at(found)
        return [self.reducer.entered(v) for v in found]
