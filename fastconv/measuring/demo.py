"""A tutorial's walk through the first layers of a CNN, on a photograph: `fastconv demo`.

Grey image -> two 3 x 3 edge filters -> ReLU -> 2 x 2 max pool -> three 5 x 5 filters -> ReLU -> pool -> one 7 x 7 filter ->
ReLU -> pool, after Ahmed Gad, "Building Convolutional Neural Network using NumPy from Scratch" (2018). The same steps are
taken twice: with `fastconv.numpycnn`, and with the visible loops below, which compute the same in plain Python.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import numpycnn
from fastconv.measuring.busy import Watch
from fastconv.measuring.extras import require
from fastconv.plans.timing import timed

Maps = npt.NDArray[np.float64]

CROP = 512  # rows and columns that the loops get
REPEATS = 5  # of each fast step, of which the median counts
LUMA = (0.2125, 0.7154, 0.0721)  # red, green and blue in grey, as ITU-R BT.709 has it

EDGES = np.array(
    [
        [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],  # vertical edges
        [[1, 1, 1], [0, 0, 0], [-1, -1, -1]],  # horizontal edges
    ],
    np.float64,
)

LAYERS = {
    1: "Layer 1: two filters on the photograph, for vertical and horizontal edges",
    2: "Layer 2: three random filters, each over both maps of layer 1",
    3: "Layer 3: one random filter over the three maps of layer 2",
}


# The loops --------------------------------------------------------------------------------------------------------------


def conv_loops(image: Maps, bank: Maps) -> Maps:
    """One output at a time: the sum of a window times a filter. (H, W, C), (filters, k, k, C) -> (H-k+1, W-k+1, filters)."""
    filters, k, _, channels = bank.shape
    height, width = image.shape[0] - k + 1, image.shape[1] - k + 1
    maps = np.zeros((height, width, filters))
    for f in range(filters):
        for i in range(height):
            for j in range(width):
                total = 0.0
                for di in range(k):
                    for dj in range(k):
                        for c in range(channels):
                            total += image[i + di, j + dj, c] * bank[f, di, dj, c]
                maps[i, j, f] = total
    return maps


def relu_loops(maps: Maps) -> Maps:
    """One value at a time: the value, or zero where it is below."""
    result = np.zeros_like(maps)
    for i in range(maps.shape[0]):
        for j in range(maps.shape[1]):
            for f in range(maps.shape[2]):
                result[i, j, f] = max(maps[i, j, f], 0.0)
    return result


def pooling_loops(maps: Maps, size: int = 2, stride: int = 2) -> Maps:
    """One window at a time: its largest value."""
    height, width = (maps.shape[0] - size) // stride + 1, (maps.shape[1] - size) // stride + 1
    pooled = np.zeros((height, width, maps.shape[2]))
    for f in range(maps.shape[2]):
        for i in range(height):
            for j in range(width):
                largest = -np.inf
                for di in range(size):
                    for dj in range(size):
                        largest = max(largest, maps[i * stride + di, j * stride + dj, f])
                pooled[i, j, f] = largest
    return pooled


# The walk ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step of the walk.

    Attributes
    ----------
    layer : int
        1, 2 or 3.
    name : str
        "conv 3x3", "relu" or "pool 2x2".
    maps : array of float64, (H, W, C)
        What it made of the whole image.
    seconds : float
        On the whole image.
    crop_seconds, loop_seconds : float
        On the crop: fastconv's time, and that of the loops.
    """

    layer: int
    name: str
    maps: Maps
    seconds: float
    crop_seconds: float
    loop_seconds: float

    @property
    def speedup(self) -> float:
        return self.loop_seconds / self.crop_seconds


def photograph(path: str | Path | None = None) -> Maps:
    """An image file as grey values in 0 .. 1; without a path, the sample photograph that comes with matplotlib.

    Raises
    ------
    ValueError
        If the file is no image that matplotlib or Pillow can read.
    OSError
        If it cannot be opened.
    """
    if path is None:
        path = require("matplotlib.cbook").get_sample_data("grace_hopper.jpg", asfileobj=False)
    try:
        image = np.asarray(require("matplotlib.image").imread(path))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is not an image that can be read: {error}") from error
    except OSError as error:
        if type(error) is not OSError and error.errno is not None:
            raise
        raise ValueError(f"{path} is not an image that can be read: {error}") from error
    return grey(image)


def grey(image: npt.NDArray[Any]) -> Maps:
    """(H, W), (H, W, 3) or (H, W, 4) in 0 .. 1, or integers up to their type's maximum -> (H, W) in 0 .. 1."""
    values = image / np.iinfo(image.dtype).max if image.dtype.kind in "iu" else image.astype(np.float64)
    if values.ndim == 2:
        return np.asarray(values, np.float64)
    if values.shape[2] < 3:
        return np.asarray(values[:, :, 0], np.float64)
    return np.asarray(values[:, :, :3] @ np.array(LUMA), np.float64)


def banks(seed: int = 0) -> list[Maps]:
    """The filters of the three layers: edges, then seeded normal ones, each without a mean, so that it looks for a texture."""
    rng = np.random.default_rng(seed)
    second, third = rng.standard_normal((3, 5, 5, 2)), rng.standard_normal((1, 7, 7, 3))
    return [EDGES[..., np.newaxis], *(bank - bank.mean(axis=(1, 2), keepdims=True) for bank in (second, third))]


def smallest_side() -> int:
    """The smallest image that leaves each layer something to do."""
    side = 1
    for bank in reversed(banks()):
        side = 2 * side + bank.shape[1] - 1
    return side


def walk(image: Maps, crop: int = CROP, watch: Watch | None = None) -> Iterator[Step]:
    """Takes the nine steps, each on the whole image, on its central crop, and on that crop with the loops, which `watch` sees.

    Raises
    ------
    ValueError
        If the image is too small for the three layers.
    RuntimeError
        If the loops and fastconv disagree.
    """
    watch, least = watch or Watch(), smallest_side()
    if min(image.shape) < least:
        raise ValueError(f"the image must be at least {least} x {least}, got {image.shape[0]} x {image.shape[1]}")
    whole, part = image[:, :, np.newaxis], central(image, crop)[:, :, np.newaxis]
    for layer, bank in enumerate(banks(), 1):
        k = bank.shape[1]
        steps: tuple[tuple[str, Callable[[Maps], Maps], Callable[[Maps], Maps]], ...] = (
            (f"conv {k}x{k}", partial(numpycnn.conv, conv_filter=bank), partial(conv_loops, bank=bank)),
            ("relu", numpycnn.relu, relu_loops),
            ("pool 2x2", numpycnn.pooling, pooling_loops),
        )
        for name, fast, slow in steps:
            whole, seconds = _median_time(fast, whole)
            fast_part, crop_seconds = _median_time(fast, part)
            with watch.calls():
                loop_seconds, part = _timed(slow, part)
            if not np.allclose(part, fast_part):
                raise RuntimeError(f"layer {layer}, {name}: the loops and fastconv disagree")
            yield Step(layer, name, whole, seconds, crop_seconds, loop_seconds)


def central(image: Maps, side: int) -> Maps:
    """The middle of an image, at most `side` rows and columns."""
    height, width = (min(side, cells) for cells in image.shape)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _median_time(function: Callable[[Maps], Maps], maps: Maps) -> tuple[Maps, float]:
    result = function(maps)
    return result, float(np.median([timed(partial(function, maps)) for _ in range(REPEATS)]))


def _timed(function: Callable[[Maps], Maps], maps: Maps) -> tuple[float, Maps]:
    """(seconds, result) of one call."""
    found: list[Maps] = []
    return timed(lambda: found.append(function(maps))), found[0]


def pictures(image: Maps, steps: list[Step], folder: Path) -> list[Path]:
    """Writes the whole walk on one sheet, and each layer's steps on one of its own; returns the files.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    from fastconv.measuring.report.maps import feature_maps

    folder.mkdir(parents=True, exist_ok=True)
    last = {step.layer: step for step in steps}
    walked = [("input", image), *((f"after layer {layer}", step.maps) for layer, step in last.items())]
    sheets = {"walk": (walked, "From the photograph to the third layer")}
    for layer, title in LAYERS.items():
        sheets[f"layer{layer}"] = ([(step.name, step.maps) for step in steps if step.layer == layer], title)
    written = []
    for name, (maps, title) in sheets.items():
        path = folder / f"{name}.png"
        feature_maps(maps, title).savefig(path)
        written.append(path)
    return written
