"""Blocks of a result: each rule's regions hold what its windows see, for all small sizes, in plain NumPy."""

import itertools

import numpy as np
import pytest

from fastconv.problem.blocks import (
    NOWHERE,
    Halo,
    Piece,
    Resampled,
    Rule,
    Run,
    Shares,
    Slid,
    Spread,
    Whole,
    Windows,
    around,
    bounds_of,
    pieces,
    ranges,
    unchanged,
    within,
)
from fastconv.problem.borders import PADDING_MODES, source_cell

CHUNKS = [(9,), (4, 5), (1, 1, 7), (3, 3, 3), (2, 0, 6, 1), (1,) * 9]


def region(piece: Piece, chunks: tuple[int, ...]) -> np.ndarray:
    """The cells of a region, each as its number in the input; -1 for none."""
    return piece.sources(bounds_of(chunks))


def covered(rule: Rule, chunks: tuple[int, ...]) -> list[tuple[int, Piece]]:
    """(first output, piece) of each block; together they have all outputs once."""
    found, first = [], 0
    for piece in pieces(rule, chunks):
        assert piece.outputs > 0 or rule.outputs == 0
        found.append((first, piece))
        first += piece.outputs
    assert first == rule.outputs
    return found


@pytest.mark.parametrize("chunks", CHUNKS)
def test_runs_lie_inside_their_blocks(chunks: tuple[int, ...]) -> None:
    """Any range of cells, and any range of a border, in runs that each lie inside one block."""
    bounds = bounds_of(chunks)
    for first, last in itertools.combinations(range(10), 2):
        runs = within(bounds, first, last)
        assert [bounds[r.block] + r.start + i for r in runs for i in range(r.count)] == list(range(first, last))
        assert all(r.start + r.count <= chunks[r.block] for r in runs)
    for mode in PADDING_MODES:
        for first, last in ((-13, 0), (-1, 0), (9, 22), (9, 10)):
            found = Piece(0, around(bounds, first, last, mode)).sources(bounds)
            assert found.tolist() == [source_cell(p, 9, PADDING_MODES.index(mode)) for p in range(first, last)]


def test_a_border_of_repeated_cells_takes_few_runs() -> None:
    """Mirrored cells are a run backwards, one cell many times is one run."""
    assert around([0, 100], -5, 0, "symmetric") == (Run(0, 4, -1, 5),)
    assert around([0, 100], -5, 0, "replicate") == (Run(0, 0, 0, 5),)
    assert around([0, 100], 100, 105, "reflect") == (Run(0, 98, -1, 5),)
    assert around([0, 100], -5, 0, "zeros") == (Run(NOWHERE, 0, 0, 5),)


WINDOWS = list(itertools.product((1, 2, 4), (1, 2, 3, 5), (0, 2, 6), (0, 1, 6), (None, "symmetric", "circular", "constant")))


@pytest.mark.parametrize("chunks", CHUNKS)
def test_windows(chunks: tuple[int, ...]) -> None:
    """The windows of a block's outputs are those of the region with the padding that is left."""
    cells, tried = sum(chunks), 0
    for stride, extent, before, after, mode in WINDOWS:
        outputs = (cells + before + after - extent) // stride + 1
        for first, piece in covered(Windows(outputs, stride, extent, before, after, mode), chunks):
            seen = [-1] * piece.padding[0] + region(piece, chunks).tolist() + [-1] * piece.padding[1]
            assert len(seen) == (piece.outputs - 1) * stride + extent
            code = PADDING_MODES.index(mode or "zeros")
            expected = [source_cell(first * stride - before + i, cells, code) for i in range(len(seen))]
            assert seen == expected
            tried += 1
    assert tried > 200


@pytest.mark.parametrize("chunks", CHUNKS)
def test_spread(chunks: tuple[int, ...]) -> None:
    """A transposed convolution of the region with its own padding has the outputs of the block, and no input is missed."""
    cells = sum(chunks)
    for stride, extent, before, after in itertools.product((1, 2, 5), (1, 3, 4), (0, 1), (0, 2)):
        for extra in range(min(2, stride)):
            outputs = (cells - 1) * stride + extent - before - after + extra
            for first, piece in covered(Spread(outputs, stride, extent, before), chunks):
                found = region(piece, chunks).tolist()
                assert found == list(range(found[0], found[-1] + 1))
                full = (len(found) - 1) * stride + extent
                assert full - sum(piece.padding) + piece.extra == piece.outputs
                assert min(piece.padding) >= 0
                assert piece.extra < max(stride, 2)
                assert found[0] * stride - before + piece.padding[0] == first
                reached = [
                    i
                    for i in range(cells)
                    if any(first <= i * stride - before + t < first + piece.outputs for t in range(extent))
                ]
                assert set(reached) <= set(found)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_shares(chunks: tuple[int, ...]) -> None:
    """The windows of an adaptive pool: those of the region, or listed."""
    cells = sum(chunks)
    for outputs in range(1, 20):
        rule = Shares(outputs)
        for first, piece in covered(rule, chunks):
            found, size = region(piece, chunks), len(region(piece, chunks))
            for number in range(piece.outputs):
                low, high = piece.windows[number] if piece.windows else Shares(piece.outputs).window(size, number)
                assert found[low:high].tolist() == list(range(*rule.window(cells, first + number)))


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("mode", ["reflect", "symmetric", "replicate", "zeros", "circular"])
def test_halo(chunks: tuple[int, ...], mode: str) -> None:
    """With the mode at the ends of the region, each output of the block sees what it sees in the whole."""
    cells, code = sum(chunks), PADDING_MODES.index(mode)
    for reach in (0, 1, 3, 5, 20):
        for first, piece in covered(Halo(cells, reach, mode == "circular"), chunks):
            found = region(piece, chunks)
            for number in range(piece.outputs):
                for offset in range(-reach, reach + 1):
                    local = source_cell(piece.crop + number + offset, len(found), code)
                    seen = found[local] if local >= 0 else -1
                    assert seen == source_cell(first + number + offset, cells, code)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("circular", [False, True])
def test_slid(chunks: tuple[int, ...], circular: bool) -> None:
    """The full convolution of the region has the block's outputs from `crop` on."""
    cells, code = sum(chunks), PADDING_MODES.index("circular" if circular else "symmetric")
    for taps in (1, 2, 5, 12):
        full = cells + taps - 1
        for start, outputs in ((0, full), ((taps - 1) // 2, cells), (0, cells)):
            for first, piece in covered(Slid(outputs, taps, start, circular), chunks):
                found = region(piece, chunks)
                assert piece.crop + piece.outputs <= len(found) + taps - 1
                for number in range(piece.outputs):
                    for tap in range(taps):
                        seen = found[source_cell(piece.crop + number - tap, len(found), code)]
                        assert seen == source_cell(start + first + number - tap, cells, code)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_resampled(chunks: tuple[int, ...]) -> None:
    """The first output of a region is one of the whole's, and its windows lie inside or end where the whole does."""
    cells = sum(chunks)
    for up, down, before, after in itertools.product((1, 2, 3), (1, 2, 3, 6), (0, 4, 9), (0, 4)):
        outputs = -(-cells * up // down)
        for first, piece in covered(Resampled(outputs, up, down, before, max(after, up)), chunks):
            found = region(piece, chunks)
            assert (found[0] * up) % down == 0
            assert piece.crop == first - found[0] * up // down >= 0
            for output in range(first, first + piece.outputs):
                low, high = -(-(output * down - before) // up), (output * down + after) // up
                assert set(range(max(0, low), min(cells, high + 1))) <= set(found.tolist())


def test_overhanging_windows_have_company() -> None:
    """A last window that alone would not fit its cells comes with the one before it."""
    rule = Windows(4, 5, 3, 0, 0, None, ceil=True)
    last = pieces(rule, (5, 5, 5, 2))[-1]
    assert last == Piece(1, (Run(2, 0, 1, 5), Run(3, 0, 1, 2)), 10, (0, 0), crop=1, overhangs=True)
    assert pieces(Windows(6, 3, 3, 0, 0, None, ceil=True), (17,))[0].overhangs


def test_whole_and_unchanged() -> None:
    assert pieces(Whole(7), (2, 3)) == [Piece(7, (Run(0, 0, 1, 2), Run(1, 0, 1, 3)))]
    assert unchanged((2, 3)) == [Piece(2, (Run(0, 0, 1, 2),)), Piece(3, (Run(1, 0, 1, 3),))]
    assert list(ranges([0, 0, 4, 4])) == [(0, 4)]
    assert list(ranges([0, 0])) == [(0, 0)]
