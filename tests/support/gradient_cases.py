"""Cases of gradients as operations: convolutions by their weights, pools by their input; both layouts."""

from collections.abc import Iterator
from typing import Any

from case import LANES, Case

import fastconv as fc
from fastconv.problem.convolutions import LAYOUTS

Ints = int | tuple[int, ...]


def moved(shape: tuple[int, ...], channel: int) -> tuple[int, ...]:
    """A shape with its channels last."""
    return (*shape[:channel], *shape[channel + 1 :], shape[channel])


def conv(
    name: str, size: Ints, kernel: Ints, channels: tuple[int, int] = (2, 3), batch: int | None = 2, **options: Any
) -> Iterator[Case]:
    """The gradient by weights [k, c / groups, *kernel] of a convolution of [batch, c, *size], in both layouts."""
    size, kernel = ((value,) if isinstance(value, int) else value for value in (size, kernel))
    c, k = channels
    shape = (*(() if batch is None else (batch,)), c, *size)
    weights = (k, c // options.get("groups", 1), *kernel)
    operation, rank = f"conv{len(size)}d_weight", len(size)
    yield Case(name, operation, shape, options=(("weight_size", weights), *options.items()), floats_only=True)
    last = (("weight_size", moved(weights, 1)), *options.items(), ("layout", LAYOUTS[rank][1]))
    yield Case(name, operation, moved(shape, 0 if batch is None else 1), options=last, floats_only=True)


def convolutions() -> Iterator[Case]:
    """Steps, paddings, borders, groups, and channels around the lanes of a vector."""
    yield from conv("kernel3x3", (6, 7), (3, 3), (5, 6), padding=1)
    yield from conv("kernel1x1", (4, 5), (1, 1), (4, 3))
    yield from conv("stride2-dilation2", (9, 8), (3, 2), stride=(2, 3), dilation=(2, 1), padding=((1, 0), (0, 2)))
    yield from conv("groups2", (5, 4), (3, 3), (4, 6), groups=2, padding=1)
    yield from conv("depthwise", (5, 6), (3, 3), (3, 3), groups=3, padding=1)
    yield from conv("depthwise-stride2", (7, 20), (3, 3), (3, 6), groups=3, stride=2, padding=1)
    yield from conv("kernel3x3-many", (6, 9), (3, 3), (LANES + 1, 5), padding=1)
    yield from conv("kernel3", 17, 3, (4, 5), padding=1)
    yield from conv("kernel-over-input", (2, 3), (5, 5), padding=2)
    for mode in ("reflect", "circular", "replicate", "symmetric"):
        yield from conv(mode, (5, 4), (3, 3), padding=1, padding_mode=mode)
    yield from conv("constant", (4, 4), (3, 3), padding=1, padding_mode="constant", padding_value=2.0)
    yield from conv("length", 9, 3, (3, 4), stride=2, padding=1)
    yield from conv("volume", (3, 4, 5), (2, 2, 3), stride=(1, 2, 1), padding=(1, 0, 1))
    yield from conv("no-batch", (5, 4), (3, 3), batch=None)
    yield from conv("batch0", (5, 4), (3, 3), batch=0)
    for n in (1, LANES, LANES + 1):
        yield from conv(f"from{n}", (4, 5), (3, 3), (n, 2), padding=1)
        yield from conv(f"to{n}", (4, 5), (3, 3), (2, n), padding=1)
        yield from conv(f"width{n}", (2, n + 2), (3, 3), (2, 2), padding=(1, 0))


def pool(name: str, kind: str, size: Ints, channels: int = 3, batch: int | None = 2, **options: Any) -> Iterator[Case]:
    """The gradient by the input [batch, channels, *size] of a pool, in both layouts."""
    size = (size,) if isinstance(size, int) else size
    rank, lead = len(size), () if batch is None else (batch,)
    given = {"norm_type": 2, **options} if kind == "lp" else options
    plan = getattr(fc, f"{kind}_pool{rank}d").plan((*lead, channels, *size), **given)
    own = {} if kind == "max" else given
    pooled, full = plan.out_shape, (*lead, channels, *size)
    channel = len(lead)
    for last in (False, True):
        shapes = [moved(shape, channel) if last else shape for shape in (pooled, full)]
        layout = {"layout": LAYOUTS[rank][1]} if last else {}
        found = {"input_size": shapes[1], **own, **layout}
        yield Case(name, f"{kind}_pool{rank}d_input", shapes[0], options=tuple(found.items()), floats_only=True)


def pools() -> Iterator[Case]:
    """Windows that overlap, leave cells out, hang over, and divide unevenly."""
    for kind in ("max", "avg", "lp"):
        yield from pool("overlap", kind, (6, 7), kernel_size=3, stride=2, padding=1)
        yield from pool("apart", kind, (7, 8), kernel_size=2, stride=3)
        yield from pool("dilation", kind, (6, 7), LANES + 1, kernel_size=2, stride=1, dilation=(2, 3))
        yield from pool("ceil", kind, (6, 7), kernel_size=3, stride=2, ceil_mode=True)
        yield from pool("length", kind, 9, 40, kernel_size=3, stride=1)
        yield from pool("volume", kind, (3, 4, 5), kernel_size=(2, 3, 2), stride=(1, 2, 1))
        yield from pool("no-batch", kind, (4, 5), batch=None, kernel_size=2)
        yield from pool("batch0", kind, (4, 5), batch=0, kernel_size=2)
    yield from pool("exclude-pad", "avg", (6, 7), kernel_size=3, stride=2, padding=1, count_include_pad=False, ceil_mode=True)
    yield from pool("divisor", "avg", (5, 6), kernel_size=2, divisor_override=-3)
    yield from pool("every-cell", "avg", (6, 7), kernel_size=3, stride=1, padding=1)
    for p in (1, 3, 2.5, float("inf")):
        yield from pool(f"p{p}", "lp", (5, 6), kernel_size=3, stride=2, padding=1, norm_type=p)


BROAD_NAMES = {
    "kernel3x3",
    "depthwise-stride2",
    "stride2-dilation2",
    "groups2",
    "reflect",
    "constant",
    "length",
    "volume",
    "overlap",
    "dilation",
}
CASES = [*convolutions(), *pools()]
