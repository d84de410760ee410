"""Cases of pools, unpools, windows and activations."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from case import ROWS, TILE, Case

KINDS = ("max", "min", "avg", "lp")


def pool(name: str, kind: str, size: Any, kernel_size: Any, channels: int = 2, batch: int | None = 1, **options: Any) -> Case:
    """A pool of [batch, channels, *size]; a batch of None is left out."""
    size = (size,) if isinstance(size, int) else size
    if kind == "lp":
        options = {"norm_type": 2, **options}
    shape = (*(() if batch is None else (batch,)), channels, *size)
    options = {"kernel_size": kernel_size, **options}
    return Case(name, f"{kind}_pool{len(size)}d", shape, options=tuple(options.items()), floats_only=kind == "lp")


def pools(kind: str) -> Iterator[Case]:
    """Sizes, steps and paddings that every kind of pool has."""
    for n in TILE:
        yield pool(f"width{n}", kind, (1, n), (1, 2), stride=1, padding=(0, 1))
        yield pool(f"width{n}-stride2", kind, (1, 2 * n), (1, 2))
        yield pool(f"channels{n}", kind, (3, 3), 2, n)
        yield pool(f"length{n}", kind, n + 2, 3, stride=1)
    for n in ROWS:
        yield pool(f"rows{n}", kind, (n, 3), (2, 1), stride=1)
    for kernel in (1, 2, 3, (1, 3), (4, 2), 7):
        yield pool(f"kernel{kernel}", kind, (8, 7), kernel, stride=2)
    yield pool("stride1-large", kind, (9, 10), 7, stride=1, padding=3)
    yield pool("tall", kind, (29, 3), (7, 3), stride=1, padding=(3, 1))
    yield pool("tall-dilation", kind, (19, 4), (6, 2), 3, stride=1, padding=((5, 4), (1, 0)), dilation=(3, 2))
    yield pool("tall-3d", kind, (4, 13, 3), (2, 6, 2), stride=(2, 1, 1), padding=(1, 2, 0))
    yield pool("long", kind, 4 * 1024 + 3, 3, 1, stride=1, padding=1)
    yield pool("many-cells", kind, 30, 2, 9 * TILE[2] + 1, stride=1)
    yield pool("many-cells-stride2", kind, 61, 3, 3, stride=2, padding=1)
    yield pool("kernel-of-input", kind, (4, 5), (4, 5))
    yield pool("stride-over-kernel", kind, (7, 8), 2, stride=(3, 5))
    yield pool("dilation2", kind, (7, 8), (2, 3), stride=1, dilation=(3, 2))
    yield pool("dilation2-padding", kind, (6, 7), 3, stride=2, dilation=2, padding=((2, 1), (0, 2)))
    for padding in (1, (0, 1), ((1, 0), (0, 1)), "same", "same_lower", "valid"):
        yield pool(f"padding{padding}", kind, (5, 6), 3, stride=2, padding=padding)
    yield pool("ceil", kind, (6, 8), 3, stride=2, ceil_mode=True)
    yield pool("ceil-drops-the-last", kind, (5, 4), 2, stride=3, padding=1, ceil_mode=True)
    yield pool("ceil-padding", kind, (6, 7), (3, 2), stride=2, padding=1, ceil_mode=True)
    yield pool("ceil-dilation", kind, (8, 7), 2, stride=3, dilation=2, ceil_mode=True)
    for size in (6, (5, 6), (3, 4, 5)):
        yield pool("no-batch", kind, size, 2, batch=None)
        yield pool("batch0", kind, size, 2, batch=0)
        yield pool("batch3", kind, size, 2, batch=3, stride=1)
        yield pool("channels0", kind, size, 2, 0)
    for mode in ("zeros", "reflect", "symmetric", "replicate", "circular"):
        yield pool(f"{mode}-border", kind, (5, 6), 3, stride=1, padding=1, padding_mode=mode)
    yield pool(
        "constant-border", kind, (5, 6), (3, 2), 3, stride=2, padding=((1, 1), (0, 1)), padding_mode="constant", padding_value=2
    )
    yield pool("border-past-half-a-window", kind, 6, 3, stride=1, padding=4, padding_mode="symmetric")
    yield pool("border-ceil-dilation", kind, (8, 7), 2, stride=3, dilation=2, padding=1, ceil_mode=True, padding_mode="reflect")
    yield pool("border-3d", kind, (3, 4, 5), (2, 3, 2), stride=(1, 2, 1), padding=1, padding_mode="replicate")
    yield pool("padding-1d", kind, 7, 3, stride=2, padding=((1, 0),), ceil_mode=True)
    yield pool("padding-3d", kind, (3, 4, 5), (2, 3, 2), stride=(1, 2, 2), padding=(1, 1, 0), ceil_mode=True)
    yield pool("dilation-3d", kind, (3, 4, 5), 2, stride=1, dilation=(1, 2, 3))


def special_pools() -> Iterator[Case]:
    """What one kind of pool has alone."""
    for kind in ("max", "min"):
        yield pool("indices", kind, (6, 7), 2, return_indices=True)
        yield pool("indices-padding", kind, (6, 7), 3, stride=2, padding=1, return_indices=True)
        yield pool("indices-ceil-dilation", kind, (6, 7), 2, stride=2, dilation=2, ceil_mode=True, return_indices=True)
        yield pool("indices-stride3", kind, (7, 2 * TILE[3]), (2, 4), stride=3, return_indices=True)
        for n in TILE:
            yield pool(f"indices-width{n}", kind, (3, n), (2, 3), stride=1, padding=(0, 1), return_indices=True)
            yield pool(f"indices-stride2-{n}", kind, (4, 2 * n), 2, return_indices=True)
            yield pool(f"indices-channels{n}", kind, (4, 5), 3, n, stride=2, padding=1, return_indices=True)
        yield pool("indices-1d", kind, 9, 3, stride=1, return_indices=True)
        yield pool("indices-3d", kind, (3, 4, 4), (2, 2, 3), stride=1, return_indices=True)
        yield pool("indices-no-batch", kind, (4, 4), 2, batch=None, return_indices=True)
        yield pool("indices-batch0", kind, (4, 4), 2, batch=0, return_indices=True)
    for options in ({}, {"ceil_mode": True}, {"padding": ((1, 0), (0, 1)), "ceil_mode": True}):
        name = "-".join(("exclude-pad", *options))
        yield pool(name, "avg", (6, 7), 3, stride=2, count_include_pad=False, **{"padding": 1, **options})
    yield pool("exclude-pad-dilation", "avg", (6, 7), 3, stride=1, dilation=2, padding=2, count_include_pad=False)
    for divisor in (1, 7, -3):
        yield pool(f"divisor{divisor}", "avg", (5, 6), 2, padding=1, divisor_override=divisor, ceil_mode=True)
    for p in (1, 2, 3, 6, 2.5, 0.5, float("inf")):
        yield pool(f"p{p}", "lp", (5, 6), 3, stride=2, norm_type=p, padding=1, ceil_mode=True)
    yield pool("p3-1d", "lp", 7, 3, norm_type=3)


CROSS = ((False, True, False), (True, True, True), (False, True, True))  # with a cell more


def selecting_pools() -> Iterator[Case]:
    """Footprints of max and min pools; ranks and medians, whose windows all have one number of cells."""
    for kind in ("max", "min"):
        yield pool("footprint-padding", kind, (6, 7), None, stride=1, padding=1, footprint=CROSS)
        yield pool("footprint-border-stride2", kind, (6, 7), 3, stride=2, padding=2, footprint=CROSS, padding_mode="circular")
        yield pool("footprint-ceil", kind, (6, 7), 3, stride=2, ceil_mode=True, footprint=CROSS)
        yield pool("footprint-1d", kind, 7, None, batch=None, stride=1, footprint=(True, False, True))
        yield pool("footprint-indices", kind, (6, 7), 3, stride=2, dilation=2, padding=1, return_indices=True, footprint=CROSS)

    def ranks(name: str, rank: Any, size: Any, kernel_size: Any, channels: int = 2, batch: int | None = 1, **more: Any) -> Case:
        return pool(name, "rank", size, kernel_size, channels, batch, rank=rank, **more)

    for n in TILE:
        yield pool(f"width{n}", "median", (2, n), 3, stride=1, padding=1)
    yield pool("median-of-borders", "median", (6, 7), 3, stride=1, padding=1, padding_mode="reflect")
    yield pool("median-1d", "median", 9, 3, batch=None, stride=1, padding="same")
    yield pool("median-3d", "median", (3, 4, 5), 3, stride=(1, 2, 1), padding=1, padding_mode="symmetric")
    yield pool("median-batch0", "median", (4, 4), 3, batch=0)
    yield ranks("rank-dilation", 2, (7, 8), 3, stride=1, dilation=2, padding=2)
    yield ranks("rank-first", 0, (6, 7), 3, batch=2)
    yield ranks("rank-last", -1, (6, 7), (2, 3), stride=2, padding=1, padding_mode="constant", padding_value=2)
    yield ranks("rank-percentile", None, (6, 7), 3, stride=1, padding=((2, 0), (1, 1)), percentile=20)
    yield ranks("rank-footprint", -2, (6, 7), None, stride=1, padding=1, footprint=CROSS)
    yield ranks("rank-1d", 1, 9, 4, stride=1)
    yield ranks("rank-3d", 3, (3, 4, 5), 2, stride=1)
    yield ranks("rank-channels", 4, (5, 6), 3, TILE[4], stride=1)


def adaptive_pools(kind: str) -> Iterator[Case]:
    """Output sizes that divide the input's, that do not, and larger ones."""
    operation, indices = f"adaptive_{kind}_pool", ({"return_indices": True},) if kind == "max" else ()
    for extra in ({}, *indices):
        for size, wanted in (
            ((7,), 3),
            ((7,), 7),
            ((5, 6), 1),
            ((5, 6), (2, 4)),
            ((3, 4), (5, 6)),
            ((5, 6), (None, 3)),
            ((3, 4, 5), 2),
            ((4, 2 * TILE[-1]), (2, TILE[-1])),
        ):
            options = tuple({"output_size": wanted, **extra}.items())
            name = "-".join(map(str, ("to", wanted, *extra)))
            yield Case(name, f"{operation}{len(size)}d", (2, 2, *size), options=options)
        name = "-".join(("to0", *extra))
        yield Case(name, f"{operation}2d", (1, 2, 3, 3), options=tuple({"output_size": (0, 2), **extra}.items()))
        yield Case(
            "-".join(("no-batch", *extra)), f"{operation}2d", (2, 5, 4), options=tuple({"output_size": 3, **extra}.items())
        )
    for n in TILE:
        yield Case(f"channels{n}", f"{operation}2d", (1, n, 3, 3), options=(("output_size", 2),))


def global_pools() -> Iterator[Case]:
    """Whole maps; the layout tells the axes where the batch is left out."""
    for kind in ("avg", "max"):
        for shape in ((2, 3, 7), (2, 3, 4, 5), (1, 2, 2, 3, 4), (1, TILE[3], 3, 3), (0, 2, 3)):
            yield Case("x".join(map(str, shape)), f"global_{kind}_pool", shape)
        yield Case("no-batch", f"global_{kind}_pool", (3, 4, 5), options=(("layout", "NCHW"),))


def unpools() -> Iterator[Case]:
    """Values to the cells that any indices name, equal ones included."""

    def unpool(name: str, shape: tuple[int, ...], rank: int, **options: Any) -> Case:
        return Case(name, f"max_unpool{rank}d", shape, options=tuple(options.items()))

    yield unpool("kernel2", (2, 3, 4), 1, kernel_size=2)
    yield unpool("kernel2", (1, 2, 3, 4), 2, kernel_size=2)
    yield unpool("kernel3-stride2-padding1", (2, 2, 3, 3), 2, kernel_size=3, stride=2, padding=1)
    yield unpool("output-size", (1, 2, 3, 3), 2, kernel_size=2, output_size=(7, 6))
    yield unpool("kernel2", (1, 2, 2, 3, 2), 3, kernel_size=(2, 1, 3))
    yield unpool("no-batch", (2, 3, 4), 2, kernel_size=2)
    yield unpool("batch0", (0, 2, 3, 4), 2, kernel_size=2)
    for n in TILE:
        yield unpool(f"channels{n}", (1, n, 2, 2), 2, kernel_size=2)


def windows() -> Iterator[Case]:
    """unfold and fold with the same windows."""
    for name, size, kernel, options in (
        ("kernel2", (7,), (2,), {}),
        ("stride2-dilation2", (9,), (3,), {"stride": 2, "dilation": 2, "padding": ((2, 1),)}),
        ("kernel3x2", (5, 6), (3, 2), {"padding": 1}),
        ("stride-over-kernel", (6, 7), (2, 1), {"stride": 3}),
        ("dilation", (6, 7), (2, 3), {"dilation": (2, 3), "stride": (2, 1)}),
        ("same", (4, 5), (3, 2), {"padding": "same", "stride": 2}),
        ("3d", (3, 4, 3), (2, 2, 2), {"padding": (1, 0, 1)}),
        *((f"wide-stride{n}", (3, 150), (2, 3), {"stride": n, "padding": ((1, 0), (2, 3))}) for n in (1, 2, 3)),
        ("padding-over-width", (2, 3), (2, 5), {"padding": (1, 9), "stride": (1, 2)}),
        *((f"width{n}", (1, n), (1, 1), {}) for n in TILE),
    ):
        taps = int(np.prod(kernel))
        for batch in ((2,), ()):
            unfold = Case(
                f"{name}{'' if batch else '-no-batch'}",
                "unfold",
                (*batch, 2, *size),
                options=(("kernel_size", kernel), *options.items()),
            )
            yield unfold
            shape = (*batch, 2 * taps, unfold.geometry.column_shape[2])
            yield Case(unfold.name, "fold", shape, options=(("output_size", size), *unfold.options))
    yield Case("batch0", "unfold", (0, 2, 4, 4), options=(("kernel_size", 2),))
    yield Case("batch0", "fold", (0, 8, 9), options=(("output_size", (4, 4)), ("kernel_size", 2)))


def elementwise() -> Iterator[Case]:
    """Activations on their own."""
    for n in (0, *TILE):
        yield Case(f"length{n}", "relu", (n,))
    for shape in ((), (3, 4), (2, 3, 4, 5)):
        yield Case(f"shape{shape}", "relu", shape)
    yield Case("cells", "relu6", (3, 7))
    yield Case("cells", "clip", (3, 7), options=(("low", -1), ("high", 3)))
    for operation in ("leaky_relu", "silu", "hardswish", "gelu"):
        yield Case("lanes", operation, (TILE[3],), floats_only=True)
        yield Case("cells", operation, (3, 7), floats_only=True)


SPATIAL = [
    *(case for kind in KINDS for case in pools(kind)),
    *special_pools(),
    *selecting_pools(),
    *adaptive_pools("avg"),
    *adaptive_pools("max"),
    *unpools(),
]
CASES = [*global_pools(), *windows(), *elementwise()]
