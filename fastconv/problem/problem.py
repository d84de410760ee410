"""A problem: all sizes and all dtypes of one call, and what it asks beside its operation's sum."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.problem.buckets import near
from fastconv.problem.convolutions import IDENTITY, Array, ConvGeometry, Hashed, cached_property
from fastconv.problem.gradients import PoolGradient, ScatterGradient, WeightGradient
from fastconv.problem.pools import PoolGeometry, UnpoolGeometry
from fastconv.problem.types import Types
from fastconv.problem.windows import ElementwiseGeometry, FoldGeometry

Operands = dict[str, Array]  # of a call, by name: x, and where there are any a residual or indices
Gradient = WeightGradient | ScatterGradient | PoolGradient
Geometry = ConvGeometry | PoolGeometry | UnpoolGeometry | FoldGeometry | ElementwiseGeometry | Gradient


@dataclass(frozen=True)
class Problem(Hashed):
    """What decides which implementation serves a call and how: frozen, so that it can be looked up.

    Attributes
    ----------
    geometry : ConvGeometry, PoolGeometry, ...
        Every size, the border and the activation.
    types : Types
        Every dtype.
    residual : bool
        Whether an array of the result's shape is added before the activation.
    """

    geometry: Any
    types: Types
    residual: bool = False

    __hash__ = Hashed.__hash__

    @property
    def dtype(self) -> np.dtype[Any]:
        """What sums are made in."""
        return self.types.summed

    @cached_property
    def representative(self) -> "Problem":
        """The problem that the choice among implementations is made for: itself, or one with sizes close by."""
        found = near(self.geometry)
        return self if found is self.geometry else self.changed(geometry=found)

    @property
    def bare(self) -> "Problem":
        """The same sums, with neither residual nor activation."""
        return self.changed(geometry=self.geometry.changed(activation=IDENTITY), residual=False)

    @property
    def finished_later(self) -> bool:
        """Whether sums are stored before they are finished: registers hold no residual and know no gelu."""
        return self.residual or getattr(self.geometry, "activation", IDENTITY).kind == "gelu"

    @property
    def ends_with_sums(self) -> bool:
        """Whether the sums are the result: neither a residual nor an activation follows."""
        return not self.residual and getattr(self.geometry, "activation", IDENTITY) == IDENTITY
