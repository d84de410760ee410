"""Pictures of pictures: the maps that layers make, and what filters give. Each function returns a matplotlib Figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastconv.measuring.extras import require
from fastconv.measuring.report.figures import FAINT, INK, empty_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["feature_maps", "gallery"]


def feature_maps(steps: Sequence[tuple[str, npt.ArrayLike]], title: str = "") -> "Figure":
    """A grid of maps: one column per step, one row per channel.

    Maps with negative values are drawn from blue over white to red, white at zero; others from black to white, with the
    dark values lifted. A step's maps share one scale, which leaves out the outermost half percent of their values.

    Parameters
    ----------
    steps : sequence of (str, array of (H, W) or (H, W, C))
        Each step's name and maps.
    title : str
        Printed above.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no step, or one has another number of axes.
    """
    columns = [(name, maps if maps.ndim == 3 else maps[:, :, np.newaxis]) for name, maps in _arrays(steps)]
    if not columns:
        raise ValueError("steps must hold at least one step")
    rows = max(maps.shape[2] for _, maps in columns)
    height, width = columns[0][1].shape[:2]
    side = 3.0 if rows > 1 else 3.6
    figure = empty_figure(side * len(columns), side * height / width * rows + 0.3 + 0.4 * bool(title))
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for at, (name, maps) in enumerate(columns):
        shades = _shades(maps)
        for channel in range(maps.shape[2]):
            grid[channel, at].imshow(maps[:, :, channel], interpolation="nearest", **shades)
        size = " x ".join(map(str, maps.shape[: 2 if maps.shape[2] == 1 else 3]))
        grid[0, at].set_title(name, loc="left", fontsize=10, color=INK, fontweight="bold")
        grid[0, at].set_title(size, loc="right", fontsize=8, color=FAINT)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, x=0.006, ha="left")
    return figure


def gallery(pictures: Sequence[tuple[str, str, npt.NDArray[Any]]], title: str = "", columns: int = 4) -> "Figure":
    """Pictures in rows, each under its name and two lines that say more; shades as in `feature_maps`.

    Parameters
    ----------
    pictures : sequence of (str, str, array of (H, W))
        Name, further lines, picture; all of one shape.
    title : str
        Printed above.
    columns : int
        Pictures of a row.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = -(-len(pictures) // columns)
    height, width = pictures[0][2].shape
    figure = empty_figure(3.4 * columns, rows * (3.4 * height / width + 0.65) + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (name, more, picture) in zip(grid.flat, pictures, strict=False):
        axes.imshow(picture, interpolation="nearest", **_shades(picture))
        axes.set_title(f"{name}\n\n", loc="left", fontsize=9, color=INK, fontweight="bold")
        axes.text(0, 1.02, more, transform=axes.transAxes, fontsize=8, color=FAINT, va="bottom")
    figure.suptitle(title, fontsize=11, color=INK, x=0.006, ha="left")
    return figure


def _arrays(steps: Sequence[tuple[str, npt.ArrayLike]]) -> list[tuple[str, npt.NDArray[Any]]]:
    found = [(name, np.asarray(maps)) for name, maps in steps]
    for name, maps in found:
        if maps.ndim not in (2, 3):
            raise ValueError(f"{name} must be height x width or height x width x channels, got shape {maps.shape}")
    return found


def _shades(maps: npt.NDArray[Any]) -> dict[str, Any]:
    low, high = np.percentile(maps, (0.5, 99.5)) if maps.size else (0.0, 1.0)
    if low < 0:
        reach = max(-low, high)
        return {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
    lift = require("matplotlib.colors").PowerNorm(0.65, low, high if high > low else low + 1, clip=True)
    return {"cmap": "gray", "norm": lift}
