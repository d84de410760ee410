"""What the operations are annotated with: arrays, sizes, and the options of each family, which are written here once."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy.typing as npt

Array = npt.NDArray[Any]
Ints = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
OutputSize = int | None | Sequence[int | None]
ActivationLike = str | tuple[str, float] | tuple[str, float, float] | None


class PlainOptions(TypedDict, total=False):
    """What every operation takes by name."""

    implementation: str


class LayoutOptions(PlainOptions, total=False):
    """What operations on batched maps with channels take by name."""

    layout: str | None


class PoolOptions(LayoutOptions, total=False):
    """What pools with a kernel take by name."""

    padding_mode: str | None
    padding_value: float | None


class OrderPoolOptions(PoolOptions, total=False):
    """What pools that look for one cell take by name."""

    footprint: npt.ArrayLike | None


class TransposedOptions(LayoutOptions, total=False):
    """What transposed convolutions take by name."""

    activation: ActivationLike
    dtype: npt.DTypeLike | None


class GradientOptions(LayoutOptions, total=False):
    """What the gradients of convolutions take by name."""

    padding_mode: str


class WeightGradientOptions(GradientOptions, total=False):
    """What gradients by weights take by name."""

    padding_value: float | None
    dtype: npt.DTypeLike | None


class ConvOptions(TransposedOptions, total=False):
    """What convolutions take by name."""

    padding_mode: str
    padding_value: complex | None


DEFAULTS: dict[str, Any] = {
    "footprint": None,
    "padding_mode": "zeros",
    "padding_value": None,
    "activation": None,
    "dtype": None,
    "layout": None,
    "implementation": "auto",
}
