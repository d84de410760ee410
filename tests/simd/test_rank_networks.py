"""Selection networks: each is proved by the 0-1 principle, and what lays them out computes what they say."""

from itertools import product

import numpy as np
import pytest

from fastconv.kernels.simd.ranks.layouts import BOTH, HIGH, LINES, LOCAL, LOW, ROWS, Layout, Place, laid_out, texts, uses_of
from fastconv.kernels.simd.ranks.networks import (
    CELL,
    LEAST,
    MOVED,
    Network,
    Program,
    box_program,
    footprint_program,
    of_box,
    pruned,
    ways,
)


def further(values: np.ndarray, columns: int) -> np.ndarray:
    """Values so many cells further along the last axis; what comes in from behind does not count."""
    return np.concatenate([values[..., columns:], np.zeros_like(values[..., :columns])], -1)


def evaluated(program: Program, lines: np.ndarray) -> list[np.ndarray]:
    """The results of a network over lines of cells [line, ..., cell]."""
    made: list[np.ndarray] = []
    for kind, a, b in program.values:
        if kind == CELL:
            made.append(further(lines[a], b))
        elif kind == MOVED:
            made.append(further(made[a], b))
        else:
            made.append((np.minimum if kind == LEAST else np.maximum)(made[a], made[b]))
    return [made[result] for result in program.results]


def run_layout(layout: Layout, lines: np.ndarray) -> list[np.ndarray]:
    """The results of a layout, whose rows and places are written as a kernel writes them."""
    memory = {ROWS: np.full((layout.rows, *lines.shape[1:]), 9), LOCAL: np.full((layout.places, *lines.shape[1:]), 9)}

    def at(place: Place) -> np.ndarray:
        return further((lines if place.kind == LINES else memory[place.kind])[place.row], place.columns)

    for level in layout.levels:
        for one in level.operations:
            a, b = at(one.a), at(one.b)
            if one.kind in (BOTH, LOW):
                memory[one.low.kind][one.low.row] = np.minimum(a, b)
            if one.kind in (BOTH, HIGH):
                memory[one.high.kind][one.high.row] = np.maximum(a, b)
    return [memory[ROWS][row] for row in layout.results]


def zeros_and_ones(lines: int, w: int) -> np.ndarray:
    """Every way to fill lines of w cells with 0 and 1, or many of them, as [line, way, cell]."""
    count = lines * w
    if count <= 14:
        every = np.array(list(product((0, 1), repeat=count)))
    else:
        rng = np.random.default_rng(count)
        every = (rng.random((4000, count)) < rng.random((4000, 1))).astype(int)
    return np.moveaxis(every.reshape(-1, lines, w), 1, 0)


def expected(lines: np.ndarray, rank: int, chosen: list[int]) -> np.ndarray:
    """The rank among all cells of some lines."""
    return np.sort(np.concatenate([lines[i] for i in chosen], -1), -1)[..., rank]


@pytest.mark.parametrize(
    ("outer", "h", "w"), [(1, 1, 2), (1, 1, 7), (1, 3, 1), (1, 2, 3), (1, 3, 3), (2, 2, 2), (1, 4, 2), (1, 5, 5)]
)
def test_networks_of_boxes(outer: int, h: int, w: int) -> None:
    """Every way to make a network, for every rank: a network that is right for all 0 and 1 is right for all values."""
    count = outer * h * w
    for rank, way in product(range(count), ways(outer, h, w)):
        network = Network(count, rank)
        program = pruned(network, of_box(network, outer, h, w, way))
        reach = h + len(program.results) - 1
        lines = zeros_and_ones(outer * reach, w)
        for i, (found, again) in enumerate(zip(evaluated(program, lines), run_layout(laid_out(program), lines), strict=True)):
            under = [q * reach + t + i for q in range(outer) for t in range(h)]
            np.testing.assert_array_equal(found[..., 0], expected(lines, rank, under))
            np.testing.assert_array_equal(again[..., 0], found[..., 0])


@pytest.mark.parametrize("seed", range(6))
def test_networks_of_footprints(seed: int) -> None:
    """Columns of any lines, and none."""
    rng = np.random.default_rng(seed)
    lines_under, w = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    used = rng.random((lines_under, w)) < 0.7
    used.flat[0] = used.flat[-1] = True
    columns = tuple(tuple(map(int, np.flatnonzero(used[:, s]))) for s in range(w))
    lines = zeros_and_ones(lines_under, w)
    taps = np.stack([lines[i][..., s] for i in range(lines_under) for s in range(w) if used[i, s]], -1)
    if taps.shape[-1] > 1:
        for rank in range(taps.shape[-1]):
            program = footprint_program(columns, rank)
            wanted = np.sort(taps, -1)[..., rank]
            for results in (evaluated(program, lines), run_layout(laid_out(program), lines)):
                np.testing.assert_array_equal(results[0][..., 0], wanted)


def test_comparisons_are_few() -> None:
    """Minima and maxima for a median: what a change must not make more of."""
    found = {size: box_program(1, size, size, size * size // 2).comparisons for size in (3, 5, 7, 9, 11)}
    assert all(found[size] <= most for size, most in {3: 19, 5: 75, 7: 172, 9: 273, 11: 506}.items()), found


def test_values_are_stored_until_they_are_needed() -> None:
    """Texts and layouts name the same rows, and no row is read behind what was made of it."""
    program = box_program(1, 5, 5, 12)
    layout, uses = laid_out(program), uses_of(program)
    assert [level.reach for level in layout.levels] == [reach for reach, _ in texts(program, 6, 100)]
    assert layout.levels[0].reach == 4
    assert layout.levels[-1].reach == 0
    assert sum(uses.stored) >= layout.rows
