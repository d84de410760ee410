"""Pictures of what was measured: bars of speedup, a roofline, a memory curve. Each function returns a matplotlib Figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastconv.measuring.extras import require
from fastconv.measuring.report.figures import (
    FAINT,
    GRID,
    INK,
    OURS,
    PAPER,
    PEERS,
    REFERENCE,
    SHADE,
    WIDTH,
    bare,
    empty_figure,
    headline,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastconv.measuring.comparison import Row

__all__ = ["memory_curve", "ratio_bars", "roofline", "speedup_bars"]

TICKS = [digit * 10.0**power for power in range(-4, 5) for digit in (1, 2, 5)]
NAMED = 14  # points of a roofline that can all be named


def speedup_bars(rows: Sequence["Row"], title: str = "", width: float = WIDTH) -> "Figure":
    """One bar per implementation and peer, as long as its speedup over the reference loops, on a logarithmic axis.

    The name of the implementation that "auto" picks is bold.

    Parameters
    ----------
    rows : sequence of Row
        What `fastconv.compare` returned; rows without a time are left out.
    title : str
        Printed above.
    width : float
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    timed = sorted((row for row in rows if row.speedup), key=lambda row: row.speedup or 0.0)
    if not timed:
        raise ValueError("rows must hold at least one with a speedup")
    figure = empty_figure(width, 0.42 * len(timed) + 1.3)
    axes = figure.subplots()
    speedups = [row.speedup or 1.0 for row in timed]
    axes.barh(range(len(timed)), [value - 1 for value in speedups], left=1, height=0.72, color=[_colour(row) for row in timed])
    for at, (row, value) in enumerate(zip(timed, speedups, strict=True)):
        _beside(axes, max(value, 1), at, f"{_rounded(value)}x\u2002{_time(row.seconds)}")
    axes.set_xscale("log")
    axes.set_xlim(1, max(speedups) ** (1 + 2.24 / width) + 1)
    axes.set_yticks(range(len(timed)), [row.implementation for row in timed], fontsize=10)
    for name, row in zip(axes.get_yticklabels(), timed, strict=True):
        name.set_fontweight("bold" if row.auto else "normal")
    axes.set_xlabel("times as fast as the reference loops (logarithmic)", fontsize=9, color=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, color=FAINT, labelcolor=INK)
    bare(axes)
    headline(axes, title)
    _legend(axes, timed, "lower right")
    return figure


def ratio_bars(ratios: Sequence[tuple[str, float]], title: str = "", width: float = WIDTH) -> "Figure":
    """One bar per ratio of times, from 1 to the right where fastconv is faster and to the left where it is slower.

    Parameters
    ----------
    ratios : sequence of (str, float)
        A name, and another's time over fastconv's; drawn from the top in this order.
    title : str
        Printed above.
    width : float
        In inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no ratio.
    """
    if not ratios:
        raise ValueError("ratios must hold at least one")
    drawn = ratios[::-1]
    figure = empty_figure(width, 0.34 * len(drawn) + 1.3)
    axes = figure.subplots()
    values = [value for _, value in drawn]
    colours = [OURS if value >= 1 else PEERS for value in values]
    axes.barh(range(len(drawn)), [value - 1 for value in values], left=1, height=0.7, color=colours)
    for at, value in enumerate(values):
        _beside(axes, max(value, 1), at, f"{value:.2f}x")
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, min(values) / 1.1), max(2, max(values)) * 1.3)
    axes.set_ylim(-0.6, len(drawn) - 0.4)
    axes.set_yticks(range(len(drawn)), [name for name, _ in drawn], fontsize=10)
    left, right = axes.get_xlim()
    axes.set_xticks([tick for tick in TICKS if left <= tick <= right], minor=False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(require("matplotlib.ticker").NullLocator())
    axes.set_xlabel("times as fast as the other library (logarithmic)", fontsize=9, color=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, color=FAINT, labelcolor=INK)
    bare(axes)
    headline(axes, title)
    return figure


def roofline(rows: Sequence["Row"], peak: float | None, bandwidth: float, title: str = "", width: float = WIDTH) -> "Figure":
    """FLOP/s against FLOPs per byte, under the two roofs of the machine: arithmetic and memory.

    Where there are too many points to name, those farthest below the roof are named.

    Parameters
    ----------
    rows : sequence of Row
        What `fastconv.compare` returned; the reference and rows without a rate are left out.
    peak : float or None
        The arithmetic roof in FLOP/s.
    bandwidth : float
        The memory roof in bytes a second.
    title : str
        Printed above.
    width : float
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    points = [
        (row.gflops / row.gbytes_per_second, row.gflops, row)
        for row in rows
        if row.gflops and row.gbytes_per_second and row.implementation != "reference"
    ]
    if not points:
        raise ValueError("rows must hold at least one with gflops and gbytes_per_second")
    figure = empty_figure(width, 5.2 if width >= WIDTH else 4.2)
    axes = figure.subplots()
    intensities, rates = [point[0] for point in points], [point[1] for point in points]
    ridge = [] if peak is None else [peak / bandwidth]
    left, right = min(intensities + ridge) / 5, max(intensities + ridge) * 15

    def roof(intensity: float) -> float:
        return min(bandwidth * intensity, peak or float("inf")) / 1e9

    bottom, top = min([*rates, roof(left)]) / 2, 2.5 * max([*rates, roof(right)])
    across = sorted([left, *ridge, right])
    heights = [roof(intensity) for intensity in across]
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top))
    axes.fill_between(across, heights, bottom, color=SHADE, zorder=0)
    axes.plot(across, heights, color=INK, linewidth=1.6, zorder=1)
    for intensity, rate, row in points:
        axes.plot(intensity, rate, "o", color=_colour(row), markersize=7, zorder=3, markeredgecolor=PAPER)
    farthest = sorted(points, key=lambda point: point[1] / roof(point[0]))
    _name_points(axes, points if len(points) <= NAMED else farthest[: NAMED // 2])
    axes.set_xlabel("FLOPs per byte that has to move (input, weights and output once)", fontsize=9, color=INK)
    axes.set_ylabel("GFLOP/s", fontsize=9, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
        axis.set_minor_formatter(lambda value, _: "")
    axes.tick_params(labelcolor=INK, color=FAINT, which="both", labelsize=9)
    bare(axes)
    headline(axes, title)
    _legend(axes, [row for _, _, row in points], "lower left")
    _name_roofs(figure, axes, left, peak, bandwidth)
    return figure


def memory_curve(
    seconds: Sequence[float], resident: Sequence[int], gigabytes: float, title: str = "", width: float = WIDTH
) -> "Figure":
    """The memory of a process over time, beside the size of what it worked on.

    Parameters
    ----------
    seconds : sequence of float
        From the start.
    resident : sequence of int
        Bytes at each of them.
    gigabytes : float
        Of the array.
    title : str
        Printed above.
    width : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no sample.
    """
    if not len(seconds):
        raise ValueError("seconds must hold at least one sample")
    used = np.asarray(resident) / 1e9
    figure = empty_figure(width, 3.2)
    axes = figure.subplots()
    axes.fill_between(seconds, used, color=OURS, alpha=0.15, linewidth=0)
    axes.plot(seconds, used, color=OURS)
    axes.axhline(used.max(), color=FAINT, linewidth=0.8, linestyle=":")
    text = f"at most {used.max():.2f} GB resident, of an array of {gigabytes:.3g} GB"
    axes.annotate(text, (0, used.max()), (4, 4), textcoords="offset points", fontsize=9, color=INK)
    axes.set_ylim(0, 1.25 * used.max())
    axes.set_xlim(0, max(seconds) or 1)
    axes.set_xlabel("seconds", color=INK)
    axes.set_ylabel("resident memory, GB", color=INK)
    bare(axes)
    headline(axes, title)
    return figure


def _name_roofs(figure: "Figure", axes: "Axes", left: float, peak: float | None, bandwidth: float) -> None:
    """The arithmetic roof's name where its line would meet the axis, the memory roof's along its slope: no points lie there."""
    if peak is not None:
        across, height = (left, peak / bandwidth), peak / 1e9
        axes.plot(across, (height, height), color=FAINT, linewidth=0.8, linestyle="--", zorder=0.5)
        axes.text(left * 1.15, height * 1.06, f"arithmetic: {height:,.0f} GFLOP/s", va="bottom", fontsize=9, color=INK)
    figure.draw_without_rendering()
    ends = axes.transData.transform([(left, bandwidth * left / 1e9), (2 * left, 2 * bandwidth * left / 1e9)])
    angle = float(np.degrees(np.arctan2(ends[1, 1] - ends[0, 1], ends[1, 0] - ends[0, 0])))
    at = left * 1.15
    axes.text(
        at,
        bandwidth * at / 1e9 * 1.12,
        f"memory: {bandwidth / 1e9:,.0f} GB/s",
        rotation=angle,
        rotation_mode="anchor",
        fontsize=9,
        color=INK,
        va="bottom",
    )


def _name_points(axes: "Axes", points: list[tuple[float, float, "Row"]]) -> None:
    """Names to the right of the points, pushed apart where they would lie over one another, with a thin line to each."""
    bottom, top = axes.get_ylim()
    right = max(intensity for intensity, _, _ in points)
    step = (top / bottom) ** 0.048
    ground = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    some_other = not all(row.auto for _, _, row in points)
    ordered = sorted(points, key=lambda point: point[1])
    heights: list[float] = []
    for _, rate, _ in ordered:
        heights.append(max(rate, heights[-1] * step) if heights else rate)
    surplus = heights[-1] * step / top
    if surplus > 1:  # a crowd under the ceiling moves down as far as it has to
        heights[-1] /= surplus
        for at in range(len(heights) - 2, -1, -1):
            heights[at] = min(heights[at], heights[at + 1] / step)
    for (intensity, rate, row), height in zip(ordered, heights, strict=True):
        axes.annotate(
            f"{row.implementation}  {_rounded(rate)}",
            (intensity, rate),
            (right * 1.45, height),
            va="center",
            fontsize=9,
            color=INK,
            fontweight="bold" if row.auto and some_other else None,
            bbox=ground,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4},
        )


def _legend(axes: "Axes", rows: Sequence["Row"], where: str) -> None:
    """What the colours mean, where there is more than one."""
    patch = require("matplotlib.patches").Patch
    named = {"fastconv": OURS, "other libraries": PEERS}
    present = {_colour(row) for row in rows}
    handles = [patch(color=colour, label=name) for name, colour in named.items() if colour in present]
    if len(handles) > 1:
        axes.legend(handles=handles, loc=where, frameon=False, fontsize=9, labelcolor=INK, handlelength=1, handleheight=1)


def _colour(row: "Row") -> str:
    if row.implementation == "reference":
        return REFERENCE
    return PEERS if row.peer else OURS


def _beside(axes: "Axes", x: float, y: float, text: str) -> None:
    """Words a little to the right of a bar's end."""
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", ha="left", fontsize=9, color=INK)


def _rounded(value: float) -> str:
    """Three digits that say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
