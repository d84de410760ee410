"""Pictures: feature maps, bars of speedup, a roofline. Each function returns a matplotlib Figure and shows nothing.

matplotlib is imported by the first picture; `pip install "fastconv[bench]"` brings it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastconv.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastconv.compare import Row

__all__ = ["feature_maps", "roofline", "speedup_bars"]

INK, FAINT = "#1f2933", "#9aa5b1"
OURS, PEERS, REFERENCE = "#0b7285", "#e8590c", "#868e96"


def _figure(width: float, height: float) -> "Figure":
    """A figure that no window system, and no global state of pyplot, has to do with."""
    return require("matplotlib.figure").Figure(figsize=(width, height), dpi=144, layout="constrained")  # type: ignore[no-any-return]


# Feature maps -----------------------------------------------------------------------------------------------------------


def feature_maps(rows: Sequence[tuple[str, npt.ArrayLike]], title: str = "") -> "Figure":
    """A grid of maps: one row per step, one column per channel.

    Maps with negative values are drawn from blue over white to red, white at zero; others from black to white. A row shares
    one scale, which leaves out the outermost half percent of its values.

    Parameters
    ----------
    rows : sequence of (str, array of (H, W) or (H, W, C))
        Each step's name and maps.
    title : str
        Printed above.

    Returns
    -------
    matplotlib.figure.Figure
    """
    steps = [(name, maps if maps.ndim == 3 else maps[:, :, np.newaxis]) for name, maps in _arrays(rows)]
    if not steps:
        raise ValueError("rows must hold at least one step")
    columns = max(maps.shape[2] for _, maps in steps)
    height, width = steps[0][1].shape[:2]
    side = 2.6 if columns > 1 else 3.4
    figure = _figure(side * columns + 0.5, (side * height / width + 0.25) * len(steps) + 0.4 * bool(title))
    grid = figure.subplots(len(steps), columns, squeeze=False)
    for row, (name, maps) in zip(grid, steps, strict=True):
        shades = _shades(maps)
        for channel, axes in enumerate(row):
            axes.set_axis_off()
            if channel >= maps.shape[2]:
                continue
            axes.imshow(maps[:, :, channel], interpolation="nearest", **shades)
            if channel == 0:
                size = " × ".join(map(str, maps.shape))
                axes.set_title(f"{name}   ", loc="left", fontsize=9, color=INK, fontweight="bold")
                axes.set_title(size, loc="right", fontsize=8, color=FAINT)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return figure


def _arrays(rows: Sequence[tuple[str, npt.ArrayLike]]) -> list[tuple[str, npt.NDArray[Any]]]:
    found = [(name, np.asarray(maps)) for name, maps in rows]
    for name, maps in found:
        if maps.ndim not in (2, 3):
            raise ValueError(f"{name} must be height x width or height x width x channels, got shape {maps.shape}")
    return found


def _shades(maps: npt.NDArray[Any]) -> dict[str, Any]:
    low, high = np.percentile(maps, (0.5, 99.5)) if maps.size else (0.0, 1.0)
    if low < 0:
        reach = max(-low, high)
        return {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
    return {"cmap": "gray", "vmin": low, "vmax": high if high > low else low + 1}


# Comparisons ------------------------------------------------------------------------------------------------------------


def speedup_bars(rows: Sequence["Row"], title: str = "") -> "Figure":
    """One bar per implementation and peer, as long as its speedup over the reference loops, on a logarithmic axis.

    Parameters
    ----------
    rows : sequence of Row
        What `fastconv.compare` returned; rows without a time are left out.
    title : str
        Printed above.

    Returns
    -------
    matplotlib.figure.Figure
    """
    timed = sorted((row for row in rows if row.speedup), key=lambda row: row.speedup or 0.0)
    if not timed:
        raise ValueError("rows must hold at least one with a speedup")
    figure = _figure(8, 0.42 * len(timed) + 1.3)
    axes = figure.subplots()
    speedups = [row.speedup or 1.0 for row in timed]
    axes.barh(range(len(timed)), [value - 1 for value in speedups], left=1, height=0.72, color=[_colour(row) for row in timed])
    for at, (row, value) in enumerate(zip(timed, speedups, strict=True)):
        label = f" {_rounded(value)}×   {_time(row.seconds)}"
        axes.text(max(value, 1), at, label, va="center", ha="left", fontsize=9, color=INK)
    axes.set_xscale("log")
    axes.set_xlim(1, max(speedups) ** 1.28 + 1)
    axes.set_yticks(range(len(timed)), [row.implementation for row in timed], fontsize=10)
    axes.set_xlabel("times as fast as the reference loops (logarithmic)", fontsize=9, color=INK)
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=INK)
    _bare(axes)
    _headline(axes, title)
    return figure


def roofline(rows: Sequence["Row"], peak: float | None, bandwidth: float, title: str = "") -> "Figure":
    """FLOP/s against FLOPs per byte, under the two roofs of the machine: arithmetic and memory.

    Parameters
    ----------
    rows : sequence of Row
        What `fastconv.compare` returned; rows without a rate are left out.
    peak : float or None
        The arithmetic roof in FLOP/s.
    bandwidth : float
        The memory roof in bytes a second.
    title : str
        Printed above.

    Returns
    -------
    matplotlib.figure.Figure
    """
    points = [(row.gflops / row.gbytes_per_second, row) for row in rows if row.gflops and row.gbytes_per_second]
    if not points:
        raise ValueError("rows must hold at least one with gflops and gbytes_per_second")
    figure = _figure(8, 5.4)
    axes = figure.subplots()
    intensities = [intensity for intensity, _ in points]
    ridge = peak / bandwidth if peak else max(intensities)
    left, right = min([*intensities, ridge]) / 4, max([*intensities, ridge]) * 12
    across = np.geomspace(left, right, 200)
    slope = bandwidth * across / 1e9
    roof = slope if peak is None else np.minimum(slope, peak / 1e9)
    bottom = min(row.gflops or 1.0 for _, row in points) / 2.5
    top = 3 * max([roof.max(), *(row.gflops or 0.0 for _, row in points)])
    axes.fill_between(across, roof, bottom, color="#f1f3f5", zorder=0)
    axes.plot(across, roof, color=INK, linewidth=1.6, zorder=1)
    if peak is not None:
        axes.text(
            right / 1.1,
            peak / 1e9 * 1.08,
            f"arithmetic: {peak / 1e9:.0f} GFLOP/s",
            ha="right",
            va="bottom",
            fontsize=9,
            color=INK,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    _name_slope(axes, left, bandwidth, peak)
    for intensity, row in points:
        axes.plot(intensity, row.gflops, "o", color=_colour(row), markersize=7, zorder=3, markeredgecolor="white")
    _name_points(axes, points, bottom, top)
    axes.set_xlabel("FLOPs per byte that has to move (input, weights and output once)", fontsize=9, color=INK)
    axes.set_ylabel("GFLOP/s", fontsize=9, color=INK)
    axes.tick_params(labelcolor=INK, color=FAINT, labelsize=9)
    _bare(axes)
    _headline(axes, title)
    return figure


def _name_slope(axes: "Axes", left: float, bandwidth: float, peak: float | None) -> None:
    """The memory roof's name, just above the slope and turned as it is drawn."""
    at = left * 1.3
    high = bandwidth * at / 1e9
    low, top = axes.get_ylim()
    if not low < high < (min(top, peak / 1e9) if peak else top):
        at = max(at, low * 1.6 * 1e9 / bandwidth)
        high = bandwidth * at / 1e9
    axes.text(
        at,
        high * 1.12,
        f"memory: {bandwidth / 1e9:.0f} GB/s",
        rotation=45,
        rotation_mode="anchor",
        transform_rotates_text=True,
        fontsize=9,
        color=INK,
        va="bottom",
    )


def _name_points(axes: "Axes", points: list[tuple[float, "Row"]], bottom: float, top: float) -> None:
    """Names to the right of the points, pushed apart where they would lie over one another, with a thin line to each."""
    step = (top / bottom) ** 0.047
    ordered = sorted(points, key=lambda point: point[1].gflops or 0.0)
    heights: list[float] = []
    for _, row in ordered:
        wanted = row.gflops or bottom
        heights.append(max(wanted, heights[-1] * step) if heights else wanted)
    for at in range(len(heights) - 2, -1, -1):  # a crowded top pushes down instead
        heights[at] = min(heights[at], heights[at + 1] / step)
    for (intensity, row), height in zip(ordered, heights, strict=True):
        axes.annotate(
            f"{row.implementation}  {_rounded(row.gflops or 0.0)}",
            (intensity, row.gflops or 0.0),
            (intensity * 1.35, height),
            va="center",
            fontsize=9,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3},
        )


def _colour(row: "Row") -> str:
    if row.implementation == "reference":
        return REFERENCE
    return PEERS if row.peer else OURS


def _bare(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def _headline(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=10)


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
