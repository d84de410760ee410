"""Pools in the place of torch's."""

from typing import Any

import numpy as np
import torch
from torch import nn

import fastconv as fc
from fastconv.torch.layers import FIRST, LAST, TO_LAST, Layer


class Pool(Layer):
    """A pool: max, avg, adaptive.

    Parameters
    ----------
    of : torch.nn.Module
        MaxPool1d to AdaptiveMaxPool3d.
    name : str
        Of fastconv's operation.
    """

    def __init__(self, of: nn.Module, name: str) -> None:
        super().__init__(int(name[-2]))
        self.of, self.name = of, name

    def planned(self, x: torch.Tensor, last: bool, *others: Any) -> Any:
        """A plan."""
        m: Any = self.of
        shape = tuple(x.shape)
        if last:
            shape = tuple(shape[axis] for axis in TO_LAST[self.rank])
        layout = (LAST if last else FIRST)[self.rank]
        names = {
            "max": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
            "avg": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
            "adaptive_max": ("output_size", "return_indices"),
            "adaptive_avg": ("output_size",),
        }[self.name.split("_pool")[0]]
        options = {name: getattr(m, name) for name in names if hasattr(m, name)}
        return getattr(fc, self.name).plan(shape, x_dtype=np.dtype(str(x.dtype)[6:]), layout=layout, **options)

    def own(self, x: Any, *others: Any) -> Any:
        """What torch computes."""
        return self.of(x)

    @property
    def summary(self) -> str:
        """The pool's name."""
        return self.name
