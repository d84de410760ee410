"""Sizes: every formula against a count of windows, one by one."""

from dataclasses import FrozenInstanceError, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from case import Case
from cases import CASES
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastconv.problem.borders import PADDING_MODES, Border, source_cell
from fastconv.problem.convolutions import ConvGeometry, same_padding, same_transposed
from fastconv.problem.pools import Axis, PoolGeometry, floor_sum, has_empty_window, span
from fastconv.problem.problem import Geometry
from fastconv.problem.walks import window_extent

small = st.integers(1, 4)
pads = st.integers(0, 4)
seeded = settings(derandomize=True, deadline=None, max_examples=150)
NUMPY_MODES = ("constant", "reflect", "edge", "wrap", "symmetric")


@st.composite
def axes(draw: Any, rank: int | None = None) -> dict[str, Any]:
    """Sizes of a convolution over 1 to 3 axes in which at least one window fits."""
    rank = draw(st.integers(1, 3)) if rank is None else rank
    kernel, stride, dilation = (tuple(draw(small) for _ in range(rank)) for _ in range(3))
    padding = tuple((draw(pads), draw(pads)) for _ in range(rank))
    size = tuple(
        draw(st.integers(max(0, window_extent(k, d) - sum(pair)), 9)) if window_extent(k, d) - sum(pair) <= 9 else 9
        for k, d, pair in zip(kernel, dilation, padding, strict=True)
    )
    return {"in_size": size, "kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}


def convolution(sizes: dict[str, Any], **changes: Any) -> ConvGeometry:
    rank = len(sizes["in_size"])
    given_fields = {"batch": 1, "in_channels": 1, "out_channels": 1, "output_padding": (0,) * rank, **sizes, **changes}
    return ConvGeometry(**given_fields)


def fits(sizes: dict[str, Any]) -> bool:
    extents = map(window_extent, sizes["kernel"], sizes["dilation"])
    return all(size + sum(pair) >= e for size, pair, e in zip(sizes["in_size"], sizes["padding"], extents, strict=True))


def starts(size: int, pair: tuple[int, int], extent: int, stride: int) -> list[int]:
    """Where the windows of an axis start that lie inside the padded input, by trying every cell."""
    return [
        first
        for first in range(-pair[0], size + pair[1])
        if (first + pair[0]) % stride == 0 and first + extent <= size + pair[1]
    ]


@seeded
@given(axes())
def test_outputs_are_the_windows_that_fit(sizes: dict[str, Any]) -> None:
    """A convolution has one output for each window start that a walk along the padded axis finds."""
    assume(fits(sizes))
    geometry = convolution(sizes)
    counted = [
        len(starts(size, pair, extent, stride))
        for size, pair, extent, stride in zip(geometry.in_size, geometry.padding, geometry.window, geometry.stride, strict=True)
    ]
    assert geometry.out_size == tuple(counted)
    assert min(geometry.out_size) >= 1


@seeded
@given(axes())
def test_cell_is_the_cell_under_the_tap(sizes: dict[str, Any]) -> None:
    """cell() finds what indexing a padded array of cell numbers finds, in every padding mode."""
    assume(fits(sizes))
    for mode, pad in zip(PADDING_MODES[:5], NUMPY_MODES, strict=True):
        most = max(max(pair) for pair in sizes["padding"])
        least = min(sizes["in_size"])
        if mode != "zeros" and most > {"reflect": least - 1, "circular": least}.get(mode, 99 * least):
            continue
        geometry = convolution(sizes, border=Border(mode))
        numbers = np.arange(1, 1 + np.prod(geometry.in_size, dtype=int)).reshape(geometry.in_size)
        padded = np.pad(numbers, geometry.padding, mode=pad)
        for position in product(*map(range, geometry.out_size)):
            for tap in product(*map(range, geometry.kernel)):
                at = tuple(o * s + t * d for o, s, t, d in zip(position, geometry.stride, tap, geometry.dilation, strict=True))
                cell = geometry.cell(position, tap)
                assert (0 if cell is None else numbers[cell]) == padded[at]


@seeded
@given(axes(), st.booleans())
def test_spans_are_the_taps_that_are_no_padding(sizes: dict[str, Any], transposed: bool) -> None:
    """span() gives the outputs whose tap lies in the input, in order, and the first one's cell; likewise transposed."""
    assume(fits(sizes))
    geometry = convolution(sizes, transposed=transposed)
    assume(min(geometry.out_size) >= 0)
    for axis in range(geometry.rank):
        far = geometry.out_size[axis] if transposed else geometry.in_size[axis]
        near = geometry.in_size[axis] if transposed else geometry.out_size[axis]
        for tap in range(geometry.kernel[axis]):
            cells = [p * geometry.stride[axis] + tap * geometry.dilation[axis] - geometry.padding[axis][0] for p in range(near)]
            inside = [p for p, cell in enumerate(cells) if 0 <= cell < far]
            first, last, start = geometry.span(axis, tap)
            assert list(range(first, last)) == inside
            if inside:
                assert start == cells[inside[0]]


@seeded
@given(axes(1))
def test_cells_of_a_transposed_convolution_are_those_that_reach_it(sizes: dict[str, Any]) -> None:
    """An input cell reaches output `cell * stride + tap * dilation - padding`, and no other."""
    geometry = convolution(sizes, transposed=True)
    for position in range(max(0, geometry.out_size[0])):
        for tap in range(geometry.kernel[0]):
            reaching = [
                cell
                for cell in range(geometry.in_size[0])
                if cell * geometry.stride[0] + tap * geometry.dilation[0] - geometry.padding[0][0] == position
            ]
            assert geometry.cell((position,), (tap,)) == (tuple(reaching) or None)


@seeded
@given(axes(1), st.sampled_from(PADDING_MODES))
def test_sources_are_the_source_cells(sizes: dict[str, Any], mode: str) -> None:
    """sources() is cell() for a run of outputs."""
    size, (pair,) = sizes["in_size"][0], sizes["padding"]
    limit = {"zeros": 99, "constant": 99, "reflect": size - 1, "circular": size}.get(mode, 99 * size)
    assume(fits(sizes) and max(pair) <= limit)
    geometry = convolution(sizes, border=Border(mode))
    for tap in range(geometry.kernel[0]):
        cells = [geometry.cell((o,), (tap,)) for o in range(geometry.out_size[0])]
        assert geometry.sources(0, tap, 0, len(cells)).tolist() == [-1 if cell is None else cell[0] for cell in cells]


@pytest.mark.parametrize("mode", range(6), ids=PADDING_MODES)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_source_cell_is_numpys_padding(mode: int, size: int) -> None:
    """Positions left and right of the input, also where the pattern repeats several times."""
    reach = 0 if mode == 1 and size == 1 else 3 * size + 1
    name = (*NUMPY_MODES, "constant")[mode]
    padded = np.pad(np.arange(size), reach, mode=name, **({"constant_values": -1} if name == "constant" else {}))
    assert [source_cell(position, size, mode) for position in range(-reach, size + reach)] == padded.tolist()


def test_source_cell_of_nothing_is_a_zero() -> None:
    assert [source_cell(position, 0, mode) for position in (-1, 0, 1) for mode in range(6)] == [-1] * 18


# "same" -----------------------------------------------------------------------------------------------------------------


@seeded
@given(st.integers(1, 40), small, st.integers(1, 5), small)
def test_same_gives_ceil_of_size_over_stride(size: int, kernel: int, stride: int, dilation: int) -> None:
    """For any stride and dilation; the odd cell at the end, or at the start for same_lower."""
    for lower in (False, True):
        before, after = same_padding(size, kernel, stride, dilation, lower)
        assert min(before, after) >= 0
        assert (before - after if lower else after - before) in (0, 1)
        sizes = {"in_size": (size,), "kernel": (kernel,), "stride": (stride,), "dilation": (dilation,)}
        assert convolution({**sizes, "padding": ((before, after),)}).out_size == (-(-size // stride),)


@seeded
@given(st.integers(1, 40), small, st.integers(1, 5), small)
def test_same_of_a_transposed_convolution_gives_size_times_stride(size: int, kernel: int, stride: int, dilation: int) -> None:
    for lower in (False, True):
        (before, after), extra = same_transposed(kernel, stride, dilation, lower)
        assert min(before, after, extra) >= 0
        assert (before - after if lower else after - before) in (0, 1)
        sizes = {"in_size": (size,), "kernel": (kernel,), "stride": (stride,), "dilation": (dilation,)}
        geometry = convolution({**sizes, "padding": ((before, after),)}, transposed=True, output_padding=(extra,))
        assert geometry.out_size == (size * stride,)


@seeded
@given(axes())
def test_a_transposed_convolution_has_the_size_of_the_convolutions_input(sizes: dict[str, Any]) -> None:
    """(out - 1) * stride + window - pads, with the rest that the stride left over as output_padding."""
    assume(fits(sizes))
    geometry = convolution(sizes)
    rest = [
        (size + sum(pair) - window) % stride
        for size, pair, window, stride in zip(geometry.in_size, geometry.padding, geometry.window, geometry.stride, strict=True)
    ]
    backward = replace(geometry, in_size=geometry.out_size, transposed=True, output_padding=tuple(rest))
    assert backward.out_size == geometry.in_size


# Pools ------------------------------------------------------------------------------------------------------------------


def pool_of(sizes: dict[str, Any], **changes: Any) -> PoolGeometry:
    return PoolGeometry(kind="avg", batch=1, channels=1, **{**sizes, **changes})


@seeded
@given(axes(1), st.booleans(), st.booleans())
def test_windows_of_a_pool(sizes: dict[str, Any], ceil_mode: bool, count_include_pad: bool) -> None:
    """Outputs, taps inside the input and what an average counts, tap by tap.

    ceil_mode adds a window that reaches past the padding, unless it starts past the input and the padding before it.
    """
    (size,), (kernel,), (stride,), (dilation,), ((before, after),) = (
        sizes[name] for name in ("in_size", "kernel", "stride", "dilation", "padding")
    )
    most = window_extent(kernel, dilation) // 2  # more padding is refused
    before, after = min(before, most), min(after, most)
    sizes = {**sizes, "padding": ((before, after),)}
    assume(fits(sizes) and size > 0)
    geometry = pool_of(sizes, ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    firsts = starts(size, (before, after), geometry.window[0], stride)
    if ceil_mode and firsts[-1] + geometry.window[0] < size + after and firsts[-1] + stride + before < size + before:
        firsts.append(firsts[-1] + stride)
    assert geometry.out_size == (len(firsts),)
    (axis,) = geometry.axes
    spans = [span(axis, o) for o in range(len(firsts))]
    empty = False
    for first, one in zip(firsts, spans, strict=True):
        taps = [first + tap * dilation for tap in range(kernel)]
        inside = [tap for tap in taps if 0 <= tap < size]
        assert list(range(one.start, one.stop, dilation)) == inside
        assert one.count == len([tap for tap in taps if tap < size + after] if count_include_pad else inside)
        empty = empty or not inside
    np.testing.assert_array_equal(geometry.divisors(), [one.count for one in spans])
    assert has_empty_window(axis) == empty
    assert (geometry.empty_window == 0) == empty


@seeded
@given(st.integers(1, 12), st.integers(1, 15))
def test_windows_of_an_adaptive_pool(size: int, outputs: int) -> None:
    """They cover the axis from end to end, leave nothing out, and differ in length by one at most."""
    ones = {"stride": (1,), "dilation": (1,), "padding": ((0, 0),)}
    geometry = pool_of({"in_size": (size,), "kernel": (outputs,), **ones}, adaptive=True)
    (axis,) = geometry.axes
    spans = [span(axis, o) for o in range(outputs)]
    assert geometry.out_size == (outputs,)
    assert spans[0].start == 0
    assert spans[-1].stop == size
    for o, one in enumerate(spans):
        assert one == (o * size // outputs, -(-(o + 1) * size // outputs), one.stop - one.start)
        assert one.count > 0
    assert all(one.stop >= other.start for one, other in pairwise(spans))
    sizes = [one.count for one in spans]
    assert max(sizes) - min(sizes) <= (2 if outputs < size else 1)
    assert geometry.taps == max(sizes)
    np.testing.assert_array_equal(geometry.divisors(), sizes)


def test_an_empty_window_is_found() -> None:
    """The first axis on which a window holds no cell of the input."""
    sizes = {"in_size": (5, 1), "kernel": (1, 2), "stride": (1, 1), "dilation": (1, 3), "padding": ((0, 0), (2, 2))}
    assert pool_of(sizes).empty_window == 1
    assert pool_of({**sizes, "padding": ((0, 0), (0, 3))}).empty_window is None


@seeded
@given(*(st.integers(1, 9) for _ in range(4)), st.integers(0, 40), st.integers(1, 40))
def test_whether_a_window_steps_over_its_input(
    size: int, kernel: int, stride: int, dilation: int, before: int, outputs: int
) -> None:
    """Against every window, also of more padding than pools may have."""
    axis = Axis(size, outputs, kernel, stride, dilation, before, 0, 0, size, 0)
    assert has_empty_window(axis) == any(one.start >= one.stop for one in (span(axis, o) for o in range(outputs)))


@seeded
@given(st.integers(0, 40), st.integers(1, 30), st.integers(0, 60), st.integers(0, 60))
def test_sums_of_floors(count: int, divisor: int, step: int, begin: int) -> None:
    assert floor_sum(count, divisor, step, begin) == sum((step * i + begin) // divisor for i in range(count))


# Objects ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", list({case.family: case for case in CASES}.values()), ids=lambda case: case.family)
def test_geometries_are_frozen_and_hashable(case: Case) -> None:
    """Equal ones hash alike, and no field can be set."""
    geometry, twin = case.geometry, replace(case.geometry)
    assert geometry == twin
    assert hash(geometry) == hash(twin)
    for field in geometry.__dataclass_fields__:
        with pytest.raises(FrozenInstanceError):
            setattr(geometry, field, 1)
    assert isinstance(geometry, Geometry)


def test_lifting_changes_no_count() -> None:
    """The same convolution over three axes has the same outputs, taps and work."""
    for case in CASES:
        if case.family in ("conv", "conv_transpose"):
            geometry, lifted = case.geometry, case.geometry.lifted()
            assert lifted.rank == 3
            assert lifted.out_size == (1,) * (3 - geometry.rank) + geometry.out_size
            assert (lifted.taps, lifted.reduction, lifted.flops) == (geometry.taps, geometry.reduction, geometry.flops)


def test_work_is_counted_product_by_product() -> None:
    """A multiplication and an addition for each output, tap and channel of its group; bytes of x, w and y once."""
    sizes = {"in_size": (5, 6), "kernel": (3, 2), "stride": (1, 2), "dilation": (1, 1), "padding": ((0, 0), (0, 0))}
    geometry = convolution(sizes, batch=2, in_channels=4, out_channels=6, groups=2)
    assert geometry.out_size == (3, 3)
    assert geometry.flops == 2 * (2 * 6 * 3 * 3) * (2 * 3 * 2)
    assert geometry.bytes(4) == 4 * (2 * 4 * 5 * 6 + 6 * 2 * 3 * 2 + 2 * 6 * 3 * 3)
    assert geometry.reduction == 2 * 3 * 2


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "padding"),
    [(9, 3, 1, 1, (1, 1)), (5, 7, 2, 1, (6, 3)), (8, 3, 3, 2, (0, 5)), (2, 2, 1, 9, (9, 9))],
)
def test_a_walk_knows_its_reach_and_how_much_of_it_lies_inside(size, kernel, stride, dilation, padding):
    """Against the cells, one by one."""
    geometry = ConvGeometry(1, 1, 1, (size,), (kernel,), (stride,), (padding,), (dilation,), output_padding=(0,))
    (walk,) = geometry.walks(0)
    cells = [walk.origin + o * stride + t * dilation for o in range(walk.outputs) for t in range(kernel)]
    assert walk.reach(walk.outputs) == max(cells) - min(cells) + 1
    assert walk.share_inside == sum(0 <= cell < size for cell in cells) / len(cells)


@pytest.mark.parametrize("padding", [0, 1, 4, 9])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"), [(1, 3, 1, 1), (7, 3, 1, 4), (7, 3, 2, 5), (5, 4, 3, 2), (9, 5, 1, 9)]
)
def test_parts_of_a_walk_have_the_taps_that_lie_in_the_input(size, kernel, stride, dilation, padding):
    """All of them, each once, and no other; also where no tap of an output does."""
    if size + 2 * padding < (kernel - 1) * dilation + 1:
        padding = (kernel - 1) * dilation
    geometry = ConvGeometry(1, 1, 1, (size,), (kernel,), (stride,), ((padding, padding),), (dilation,), output_padding=(0,))
    (walk,) = geometry.walks(0)
    found = {}
    for part in walk.parts():
        assert part.outputs > 0
        for o in range(part.outputs):
            reads = [(part.kernel_first + t, part.origin + o * stride + t * dilation) for t in range(part.taps)]
            assert part.first + o not in found
            found[part.first + o] = reads
    assert found == {
        o: [(t, cell) for t in range(kernel) if 0 <= (cell := o * stride + t * dilation - padding) < size]
        for o in range(walk.outputs)
    }


@pytest.mark.parametrize("padding", [0, 2, 3, 4])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(9, 1, 2), (8, 1, 4), (7, 1, 3), (9, 2, 2)])
def test_a_thinned_walk_reads_the_same_cells(size, kernel, stride, padding):
    geometry = ConvGeometry(1, 1, 1, (size,), (kernel,), (stride,), ((padding, padding),), (1,), output_padding=(0,))
    (walk,) = geometry.walks(0)
    thin = walk.thinned()
    assert thin.outputs == walk.outputs
    assert (thin.stride == 1) == (kernel == 1 and padding % stride == 0)
    for o in range(walk.outputs):
        cells = [one.origin + o * one.stride for one in (walk, thin)]
        assert (0 <= cells[0] < walk.cells) == (0 <= cells[1] < thin.cells)
        assert cells[0] == cells[1] * thin.skip
