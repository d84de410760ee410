"""Every case of the tests: built from tile sizes, steps, paddings and channels, and real layers made small.

`CASES` holds them all. `BROAD` holds a few of each operation, for what need not be shown on every geometry.
"""

from collections.abc import Iterator
from typing import Any

import conv_cases
import gradient_cases
import pool_cases
from case import Case, both_layouts

from fastconv.measuring import layers
from fastconv.problem.walks import window_extent

# Of each operation: the plain, a hard one, and what takes a path of its own.
BROAD_NAMES = {
    "kernel3x3-two-images",
    "map-in-padding",
    "groups2-4-to-6",
    "one-channel-kernel5x5",
    "depthwise-stride2",
    "one-channel-wide",
    "stride3-dilation2",
    "reflect-pairs",
    "then-relu",
    "residual-then-silu",
    "constant",
    "symmetric-border",
    "padding1",
    "doubled-of-many",
    "upsampled-alone",
    "tall-dilation",
    "ceil-padding",
    "exclude-pad-ceil_mode",
    "divisor-3",
    "indices-padding",
    "footprint-padding",
    "median-of-borders",
    "rank-dilation",
    "indices-ceil-dilation",
    "p3",
    "to-1",
    "to-(2, 4)",
    "to-(2, 4)-return_indices",
    "kernel3-stride2-padding1",
    "kernel3x2",
    "dilation",
    "2x3x4x5",
    "shape(2, 3, 4, 5)",
    "cells",
}


# Broad with channels first alone: what they are about is the same in both layouts.
FIRST_ALONE = {
    "stride3-dilation2",
    "reflect-pairs",
    "symmetric-border",
    "tall-dilation",
    "ceil-padding",
    "divisor-3",
    "p3",
    "upsampled-alone",
    "one-channel-wide",
    "to-1",
}


def shrunk(layer: layers.Layer) -> Case:
    """The layer with few channels and a small map; kernel, steps, padding and kind of grouping stay."""
    options = layer.kwargs
    groups = options.get("groups", 1)
    channels = min(layer.x_shape[1], 3)
    if groups > 1:
        options["groups"] = channels
    spatial: Any = layer.x_shape[2:]
    w_shape, bias = None, None
    if layer.w_shape is not None:
        kernel = layer.w_shape[2:]
        least = [3 if extent > 15 else min(window_extent(extent, 1) + 3, 9) for extent in kernel]
        first = channels if groups > 1 or layer.operation.startswith("conv_transpose") else min(layer.w_shape[0], 2)
        second = 1 if groups > 1 else min(layer.w_shape[1], channels)
        w_shape, bias = (first, second, *kernel), second if layer.operation.startswith("conv_transpose") else first
    else:
        taps = options["kernel_size"]
        least = [extent + 2 for extent in (taps if isinstance(taps, tuple) else (taps,) * len(spatial))]
    size = tuple(min(cells, fewest) for cells, fewest in zip(spatial, least, strict=True))
    return Case("layer", layer.operation, (1, channels, *size), w_shape, bias, tuple(options.items()))


def real_layers() -> Iterator[Case]:
    """Each layer that is still another one once it is small, under the name of the first of its kind."""
    seen = set()
    for name in layers.names():
        case = shrunk(layers.layer(name))
        if case not in seen:
            seen.add(case)
            yield Case(name, *(getattr(case, field) for field in ("operation", "x_shape", "w_shape", "bias", "options")))


def _with_layouts(cases: list[Case]) -> Iterator[Case]:
    for case in cases:
        yield from both_layouts(case)


CASES = [
    *_with_layouts(conv_cases.CASES),
    *_with_layouts(pool_cases.SPATIAL),
    *_with_layouts(list(real_layers())),
    *pool_cases.CASES,
    *gradient_cases.CASES,
]


def is_broad(case: Case) -> bool:
    """Whether the case is one of those; with channels last, whose kernels compile anew, fewer."""
    if case.is_gradient:
        return case.name in gradient_cases.BROAD_NAMES
    return case.name in BROAD_NAMES and not (case.channels_last and case.name in FIRST_ALONE)


BROAD = list(filter(is_broad, CASES))
