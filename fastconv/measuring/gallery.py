"""Filters of fastconv.ndimage on a photograph, each picture with its time and SciPy's: `fastconv demo --filters`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.measuring.extras import require
from fastconv.measuring.filters import Call, Row, compared

Image = npt.NDArray[Any]

DISK = np.hypot(*np.mgrid[-7:8, -7:8]) <= 7.5
FILTERS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("smooth", "gaussian_filter", {"sigma": 4}),
    ("gradient", "gaussian_gradient_magnitude", {"sigma": 1}),
    ("zero crossings", "gaussian_laplace", {"sigma": 2}),
    ("edges upright", "sobel", {}),
    ("mean", "uniform_filter", {"size": 15}),
    ("median", "median_filter", {"size": 9}),
    ("dark 20 %", "percentile_filter", {"percentile": 20, "size": 9}),
    ("dilated by a disk", "grey_dilation", {"footprint": DISK}),
    ("eroded", "minimum_filter", {"size": 9}),
    ("outlines", "morphological_gradient", {"size": 3}),
    ("small bright parts", "white_tophat", {"size": 21}),
)
SECONDS = 0.1  # that each library is timed for


@dataclass(frozen=True)
class Picture:
    """A filter's result, what it does in words, its call, and the times of fastconv and of SciPy, where that is installed."""

    title: str
    call: Call
    image: Image
    rows: list[Row]

    def seconds(self, library: str) -> float | None:
        """The time of a library."""
        return next((row.seconds for row in self.rows if row.library == library), None)

    @property
    def arguments(self) -> str:
        """The call's arguments, arrays by their shapes."""
        shown = {name: "disk" if isinstance(value, np.ndarray) else value for name, value in self.call.options.items()}
        return f"{self.call.function}({', '.join(f'{name}={value}' for name, value in shown.items())})"


def filtered(photograph: Image) -> Iterator[Picture]:
    """Every filter on a grey image of values in 0 .. 1, in float32."""
    x = photograph.astype(np.float32)
    for title, function, options in FILTERS:
        call = Call("ndimage", function, x, (), options)
        yield Picture(title, call, call.of("fastconv")(), compared(call, seconds=SECONDS))


def sheet(photograph: Image, pictures: list[Picture], folder: Path) -> Path:
    """Write all pictures on one sheet, filters.png, and return where it is.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    from fastconv.measuring.report.maps import gallery
    from fastconv.measuring.report.results import duration

    require("matplotlib.figure")
    captions = [("the photograph", "", photograph)]
    for one in pictures:
        mine, theirs = one.seconds("fastconv"), one.seconds("scipy")
        beside = f"; SciPy {duration(theirs)}: {theirs / mine:.0f} times" if mine and theirs else ""
        captions.append((one.title, f"{one.arguments}\n{duration(mine)}{beside}", one.image))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "filters.png"
    height, width = photograph.shape
    gallery(captions, f"fastconv.ndimage on {height} x {width} pixels of float32").savefig(path)
    return path
