"""What the public functions are annotated with, and how many axes a global pool has."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fastconv.problem.convolutions import LAYOUTS, Size

Array = npt.NDArray[Any]
Ints = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
OutputSize = int | None | Sequence[int | None]
ActivationLike = str | tuple[str, float] | tuple[str, float, float] | None


RANKS = {name: rank for rank, names in LAYOUTS.items() for name in names}


def pooled_rank(shape: Size, layout: str | None) -> tuple[int, Size]:
    """(number of spatial axes, their sizes) of a global pool's input."""
    if layout is not None and layout not in RANKS:
        raise ValueError(f"layout must be None or one of {tuple(RANKS)}, got {layout!r}")
    rank = len(shape) - 2 if layout is None else RANKS[layout]
    if not 1 <= rank <= 3 or len(shape) not in (rank + 1, rank + 2):
        raise ValueError(
            f"x must have a batch, a channel and 1 to 3 spatial axes, or a layout that names its axes, got shape {shape} and "
            f"layout {layout!r}"
        )
    last = layout is not None and layout == LAYOUTS[rank][1]
    spatial = tuple(shape[len(shape) - rank - last : len(shape) - last])
    if 0 in spatial:
        raise ValueError(f"x must have cells on every spatial axis, got shape {shape}")
    return rank, spatial
