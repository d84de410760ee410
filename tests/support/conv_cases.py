"""Cases of convolutions and transposed convolutions over 1, 2 and 3 axes."""

from collections.abc import Iterator
from math import prod
from typing import Any

from case import LANES, ROWS, TILE, Case

Ints = int | tuple[int, ...]


def conv(
    name: str, size: Ints, kernel: Ints, channels: tuple[int, int] = (2, 3), batch: int | None = 1, **options: Any
) -> Case:
    """A convolution of [batch, c, *size] with [k, c / groups, *kernel]; a batch of None is left out."""
    return _case("conv", name, size, kernel, channels, batch, options)


def transposed(
    name: str, size: Ints, kernel: Ints, channels: tuple[int, int] = (2, 3), batch: int | None = 1, **options: Any
) -> Case:
    """A transposed convolution of [batch, c, *size] with [c, k / groups, *kernel]."""
    return _case("conv_transpose", name, size, kernel, channels, batch, options)


def _case(
    family: str, name: str, size: Any, kernel: Any, channels: tuple[int, int], batch: int | None, options: dict[str, Any]
) -> Case:
    size, kernel = ((value,) if isinstance(value, int) else value for value in (size, kernel))
    c, k = channels
    groups, bias, residual = options.get("groups", 1), options.pop("bias", True), options.pop("residual", False)
    floats = options.get("activation") in ("leaky_relu", "silu", "hardswish", "gelu") or "leaky_relu" in (
        options.get("activation") or ()
    )
    first, second = (c, k // groups) if family == "conv_transpose" else (k, c // groups)
    return Case(
        name,
        f"{family}{len(size)}d",
        (*(() if batch is None else (batch,)), c, *size),
        (first, second, *kernel),
        k if bias else None,
        tuple(options.items()),
        floats,
        residual,
    )


def tiles() -> Iterator[Case]:
    """Every size that a register tile or a vector may end in, one axis at a time."""
    for n in TILE:
        yield conv(f"width{n}", (2, n), (1, 3), (2, 2), padding=(0, 1))
        yield conv(f"width{n}-of-1x1", (1, n), (1, 1), (3, 2))
        yield conv(f"width{n}-stride2", (1, 2 * n), (1, 3), (2, 2), stride=(1, 2), padding=(0, 1))
        yield conv(f"length{n}", n, 3, (3, 2), padding=1)
        yield conv(f"length{n}-3d", (1, 2, n), (1, 1, 2), (2, 2), padding=((0, 0), (0, 0), (1, 0)))
        yield conv(f"from{n}", (3, 3), (2, 2), (n, 2))
        yield conv(f"to{n}", (3, 3), (2, 2), (2, n))
        yield conv(f"to{n}-1d", 4, 2, (2, n))
        yield conv(f"depthwise{n}", (4, 5), (3, 3), (n, n), groups=n, padding=1)
        yield conv(f"depthwise{n}-width{n}", (1, n), (1, 3), (3, 3), groups=3, padding=(0, 1))
    for n in ROWS:
        yield conv(f"rows{n}", (n, 3), (3, 1), padding=(1, 0))
        yield conv(f"positions{n}-to{LANES + 1}", (n, 1), (1, 1), (2, LANES + 1))
        yield conv(f"one-channel-rows{n}", (n, 5), (3, 3), (1, 1), padding=1)
    yield conv("block", (5, 7), (1, 1), (2, 2 * LANES + 1))
    yield conv("long-block", (1, 15), (1, 1), (2, 4 * LANES + 1))
    yield conv("odd-channels", (1, 1), (1, 1), (45, 70))
    yield conv("odd-channels-5-groups", (1, 2), (1, 1), (45, 70), groups=5)
    yield conv("one-channel-wide", (3, 2 * LANES + 3), (3, 3), (1, 1), padding=1)


def kernels() -> Iterator[Case]:
    """Kernels of every small shape, as large as the input, and larger than it but for the padding."""
    for kernel in ((1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (1, 7), (7, 1), (3, 2), (4, 3)):
        yield conv(f"kernel{kernel[0]}x{kernel[1]}", (7, 8), kernel, (2, 2))
        yield conv(f"one-channel-kernel{kernel[0]}x{kernel[1]}", (8, 9), kernel, (1, 1), padding=kernel[0] // 2)
    yield conv("kernel-of-input", (4, 5), (4, 5))
    yield conv("kernel-over-input", (2, 3), (5, 5), padding=2)
    yield conv("kernel3x3-two-images", (6, 7), (3, 3), (5, 6), 2, padding=1)
    yield conv("map-in-padding", (2, 3), (3, 3), (5, 6), 3, padding=1)
    yield conv("strided-map-in-padding", (4, 3), (4, 3), (2, 3), 2, padding=(2, 1), stride=2, activation="relu6")
    for n in (1, 2, 4, 9):
        yield conv(f"kernel{n}", 11, n)
    yield conv("kernel2x3x2", (3, 4, 3), (2, 3, 2))
    yield conv("kernel3x3x3", (4, 4, 5), (3, 3, 3), (2, 2), padding=1)


def squares() -> Iterator[Case]:
    """3x3 kernels on maps that end inside, at and after a tile of 2x2 or 4x4 outputs, with enough channels for a transform."""
    for rows, columns in ((1, 1), (2, 3), (4, 4), (5, 8), (9, 6)):
        yield conv(f"square{rows}x{columns}", (rows, columns), (3, 3), (4, 4), padding=1)
        yield conv(f"square{rows}x{columns}-valid", (rows + 2, columns + 2), (3, 3), (5, 4))
    for n in TILE[1:]:
        yield conv(f"square-from{n}", (2, 2), (3, 3), (n, 4), padding=1)
        yield conv(f"square-to{n}", (2, 3), (3, 3), (4, n), padding=1)
    yield conv("square-pairs", (4, 5), (3, 3), (4, 5), padding=((2, 0), (1, 3)))
    yield conv("square-groups", (4, 5), (3, 3), (8, 10), groups=2, padding=1)
    yield conv("square-reflect", (5, 4), (3, 3), (4, 4), padding=2, padding_mode="reflect")
    for n in (1, 4, 5, 9):
        yield conv(f"three-taps-{n}", n, 3, (4, 5), padding=1)
        yield conv(f"three-in-a-row-{n}", (2, n), (1, 3), (5, 4), padding=(0, 1))
        yield conv(f"three-in-a-column-{n}", (n, 2), (3, 1), (4, 4), padding=(1, 0))
    yield conv("three-taps-replicate", 7, 3, (8, 8), 2, groups=2, padding=2, padding_mode="replicate", activation="relu6")
    yield conv("cube3x3x3", (2, 3, 5), (3, 3, 3), (4, 4), padding=1)
    yield conv(
        "cube2x3x1", (5, 5, 2), (2, 3, 1), (5, 4), stride=(2, 1, 1), dilation=(2, 1, 1), padding=((1, 0), (1, 1), (0, 0))
    )
    yield conv("cube-reflect", (3, 4, 3), (2, 3, 3), (4, 4), padding=1, padding_mode="reflect")
    for name, size, kernel, options in (
        ("5x5", (6, 9), (5, 5), {"padding": 2}),
        ("5x5-valid", (5, 5), (5, 5), {}),
        ("7x3", (9, 4), (7, 3), {"padding": ((3, 2), (0, 1))}),
        ("4x9", (5, 11), (4, 9), {"padding": (1, 4), "padding_mode": "reflect"}),
        ("6x1", (7, 2), (6, 1), {"padding": (2, 0), "padding_mode": "circular"}),
        ("1x7-groups", (2, 9), (1, 7), {"padding": (0, 3), "groups": 2}),
        ("3x5", (5, 6), (3, 5), {"padding": 1, "activation": "silu"}),
        ("five-taps", (11,), (5,), {"padding": 2}),
        ("7x7-stride2", (13, 18), (7, 7), {"padding": 3, "stride": 2}),
        ("5x11-stride2x4", (9, 21), (5, 11), {"padding": ((2, 0), (1, 3)), "stride": (2, 4)}),
        ("3x1-stride2x3", (9, 8), (3, 1), {"stride": (2, 3), "groups": 2, "padding": (1, 0)}),
        ("5x5-stride2-reflect", (8, 9), (5, 5), {"padding": 2, "stride": 2, "padding_mode": "reflect"}),
        ("3x3-dilation2", (9, 11), (3, 3), {"padding": 2, "dilation": 2}),
        ("3x5-dilation3x2", (10, 12), (3, 5), {"padding": ((3, 0), (2, 4)), "dilation": (3, 2)}),
        ("3x3-dilation5-valid", (12, 13), (3, 3), {"dilation": 5}),
        ("5x3-stride2-dilation2", (9, 10), (5, 3), {"padding": (2, 1), "stride": (2, 1), "dilation": (1, 2)}),
        ("3x3-dilation2-circular", (7, 6), (3, 3), {"padding": 2, "dilation": 2, "padding_mode": "circular"}),
        ("three-taps-dilation4", (37,), (3,), {"padding": 4, "dilation": 4, "activation": "silu"}),
        ("2x5x5-strides", (4, 9, 8), (2, 5, 5), {"padding": 1, "stride": (2, 2, 1), "dilation": (2, 1, 1)}),
        ("2x5x4", (3, 6, 5), (2, 5, 4), {"padding": (1, 2, 1)}),
    ):
        channels = (8, 10) if "groups" in options else (5, 4)
        yield conv(
            f"pieces-{name}", size if len(size) > 1 else size[0], kernel if len(kernel) > 1 else kernel[0], channels, **options
        )
    for stride in (1, 2):  # more channels than a vector has lanes, so that pieces are transformed one by one
        yield conv(f"pieces-of-many-stride{stride}", (9, 10), (5, 6), (LANES + 3, 4), padding=2, stride=stride)
    yield conv("square-groups-of-two", (6, 7), (3, 3), (4, 4), groups=2, padding=1)
    yield conv("dilated-square-of-many", (11, 10), (3, 3), (LANES + 3, 4), padding=2, dilation=2, padding_mode="reflect")
    yield conv("square-batch3-no-bias", (3, 6), (3, 3), (4, 4), 3, padding=1, bias=False)
    yield conv("square-no-batch", (3, 6), (3, 3), (4, 4), None)


def points() -> Iterator[Case]:
    """Kernels that do not overlap."""
    for n in (LANES + 1, 8 * LANES):
        yield conv(f"points{n}", n, 1, (3, 5), batch=2)
        yield transposed(f"doubled-points{n}", (2, n), (2, 2), (3, 5), stride=2)
    yield conv("points-of-groups", (2, 1, LANES), (1, 1, 1), (6, 15), groups=3, activation="silu")
    yield transposed(
        "doubled-points-of-groups", (3, 2, LANES), (3, 2, 2), (6, 9), stride=(3, 2, 2), groups=3, activation="silu"
    )
    yield transposed("points-by-columns", (2, LANES + 1), (3, 1), (2, 3), stride=(3, 1), batch=2)


def steps() -> Iterator[Case]:
    """Strides and dilations, alone and together."""
    for stride in (2, 3, (2, 1), (1, 3), (4, 5)):
        yield conv(f"stride{stride}", (9, 10), (3, 2), stride=stride, padding=1)
    for dilation in (2, 3, (1, 2), (3, 1)):
        yield conv(f"dilation{dilation}", (8, 9), (3, 2), dilation=dilation, padding=1)
    yield conv("stride2-1x1", (5, 6), (1, 1), stride=2)
    yield conv("stride2-dilation2", (9, 8), (3, 3), (1, 2), stride=2, dilation=2, padding=2)
    yield conv("stride3-dilation2", (11, 9), (3, 2), stride=(3, 2), dilation=(2, 3), padding=((3, 1), (0, 2)))
    yield conv("stride2-7x7", (9, 9), (7, 7), (1, 2), stride=2, padding=3)
    yield conv("stride2", 10, 3, stride=2)
    yield conv("dilation4", 11, 2, dilation=4, padding=((4, 0),))
    yield conv("stride2-3d", (4, 5, 4), (2, 2, 2), (2, 2), stride=2, padding=1)
    yield conv("dilation2-3d", (3, 4, 5), (2, 1, 2), (2, 2), dilation=(2, 1, 3))


def paddings() -> Iterator[Case]:
    """Every form of padding, and every mode."""
    for padding in (1, 2, (1, 0), ((0, 1), (2, 0)), ((3, 0), (0, 0)), "valid", "same", "same_lower"):
        yield conv(f"padding{padding}", (4, 5), (3, 2), padding=padding)
        if isinstance(padding, str):
            yield conv(f"padding-{padding}-stride2", (5, 6), (2, 3), padding=padding, stride=2, dilation=(2, 1))
    yield conv("padding-past-the-kernel", (3, 2), (2, 3), padding=5)
    for mode, value in (("reflect", 0), ("replicate", 0), ("circular", 0), ("symmetric", 0), ("constant", 3)):
        border: dict[str, Any] = {"padding_mode": mode, **({"padding_value": value} if value else {})}
        yield conv(f"{mode}", (5, 6), (3, 3), padding=1, **border)
        yield conv(f"{mode}-pairs", (4, 5), (3, 2), padding=((3, 0), (1, 4)), **border)
        yield conv(f"{mode}-stride2-dilation2", (6, 5), (3, 2), padding=3, stride=2, dilation=2, **border)
        yield conv(f"{mode}-same", 5, 4, padding="same", **border)
        yield conv(f"{mode}-groups", (4, 3), (3, 3), (4, 4), padding=1, groups=4, **border)
        yield conv(f"{mode}-square", (6, 7), (3, 3), (4, 5), padding=2, **border)
        yield conv(f"{mode}-one-channel", (9, 8), (5, 5), (1, 1), padding=2, **border)
    yield conv("replicate-past-the-input", (2, 2), (3, 3), padding=4, padding_mode="replicate")
    yield conv("symmetric-past-the-input", (2, 3), (3, 3), padding=7, padding_mode="symmetric")
    yield conv("constant-is-zero", (4, 5), (3, 3), padding=1, padding_mode="constant", padding_value=0)
    yield conv("constant-3d", (2, 3, 3), (2, 2, 2), padding=1, padding_mode="constant", padding_value=-2.0, activation="relu")
    yield conv("circular-whole", 3, 3, padding=3, padding_mode="circular")
    yield conv("reflect-3d", (3, 2, 4), (2, 2, 2), padding=1, padding_mode="reflect")


def channels() -> Iterator[Case]:
    """Groups, depthwise, no bias, no batch, nothing at all."""
    for groups, c, k in ((2, 4, 6), (3, 3, 6), (3, 9, 3), (5, 5, 5)):
        yield conv(f"groups{groups}-{c}-to-{k}", (5, 4), (3, 2), (c, k), groups=groups, padding=1)
    yield conv("depthwise-stride2", (7, 8), (3, 3), (3, 3), groups=3, stride=2, padding=1)
    yield conv("depthwise-5x5", (6, 7), (5, 5), (2, 2), groups=2, padding=2)
    yield conv("depthwise-dilation2", (7, 6), (3, 3), (2, 2), groups=2, dilation=2, padding=2, bias=False)
    yield conv("depthwise-multiplier2", (4, 5), (3, 3), (3, 6), groups=3)
    yield conv("depthwise-same", 9, 4, (3, 3), groups=3, padding="same")
    yield conv("depthwise-1d", 9, 3, (3, 3), groups=3, dilation=2)
    yield conv("depthwise-3d", (3, 3, 4), (2, 2, 2), (2, 2), groups=2, padding=1)
    yield conv("no-bias", (4, 5), (3, 3), bias=False)
    yield conv("no-bias-1d", 6, 3, bias=False)
    for size, kernel in ((5, 3), ((4, 5), (2, 3)), ((3, 2, 4), (2, 1, 2))):
        yield conv("no-batch", size, kernel, batch=None)
        yield conv("batch0", size, kernel, batch=0)
        yield conv("batch3", size, kernel, batch=3)
        yield conv("from0", size, kernel, (0, 2))
        yield conv("to0", size, kernel, (2, 0))
    yield conv("no-cells", (0, 3), (1, 2), padding=1)
    yield conv("no-cells-1d", 0, 2, padding=1)


def activations() -> Iterator[Case]:
    """Every activation, fused."""
    for activation in ("relu", "relu6", "leaky_relu", "silu", "hardswish", "gelu", ("clip", -2, 5), ("leaky_relu", 0.5)):
        yield conv(f"then-{activation}", (4, 5), (3, 3), (4, 5), activation=activation)
        yield conv(f"depthwise-then-{activation}", (4, 5), (3, 2), (3, 3), groups=3, activation=activation)
        yield transposed(f"then-{activation}", 4, 3, activation=activation)
    yield conv("then-relu", 6, 2, activation="relu")


def residuals() -> Iterator[Case]:
    """Arrays that are added before the activation, in kernels of every kind."""
    for activation in (None, "relu", "silu", "gelu"):
        name, then = f"residual-then-{activation}", {"activation": activation} if activation else {}
        yield conv(name, (4, 5), (3, 3), (4, 5), 2, padding=1, residual=True, **then)
        yield conv(f"{name}-1x1", (3, 7), (1, 1), (9, 5), residual=True, **then)
        yield conv(f"{name}-1x1-to-few", (5, 5), (1, 1), (9, 2), residual=True, **then)
        yield conv(f"{name}-depthwise", (9, 19), (3, 3), (17, 17), groups=17, padding=1, residual=True, **then)
        yield conv(f"{name}-one-channel", (9, 20), (5, 5), (1, 1), padding=2, residual=True, **then)
        yield transposed(name, (3, 4), (2, 2), (5, 6), 2, stride=2, residual=True, **then)
    yield conv("residual-groups", (5, 4), (3, 2), (4, 6), groups=2, stride=2, padding=1, residual=True)
    yield conv("residual-no-batch", 7, 3, batch=None, residual=True)
    yield conv("residual-3d", (3, 4, 3), (2, 3, 2), (4, 4), padding=1, residual=True, activation="relu6")
    yield transposed("residual-many", (3, 3), (3, 3), (6, 7), stride=1, residual=True, activation="leaky_relu")


def transposes() -> Iterator[Case]:
    """Transposed convolutions."""
    for n in TILE:
        yield transposed(f"width{n}", (1, n), (1, 2), stride=(1, 2))
        yield transposed(f"from{n}", (2, 2), (2, 2), (n, 2))
        yield transposed(f"to{n}", (2, 2), (2, 2), (2, n))
    for kernel in ((1, 1), (2, 2), (3, 3), (1, 4)):
        yield transposed(f"kernel{kernel[0]}x{kernel[1]}", (3, 4), kernel)
    yield transposed("stride2", (3, 4), (2, 2), stride=2)
    yield transposed("stride2-padding1-extra1", (3, 4), (3, 3), stride=2, padding=1, output_padding=1)
    yield transposed("stride-over-kernel", (2, 3), (2, 1), stride=(3, 4), output_padding=(2, 0))
    yield transposed("dilation2", (3, 3), (3, 2), dilation=2)
    yield transposed("stride3-dilation2", (3, 3), (2, 3), stride=(3, 2), dilation=(2, 3), padding=1, output_padding=(2, 1))
    yield transposed("pairs", (4, 3), (3, 3), padding=((2, 0), (1, 3)))
    yield transposed("same", (3, 4), (3, 2), padding="same", stride=2)
    yield transposed("same-lower", (3, 4), (4, 1), padding="same_lower", stride=(1, 3))
    for groups, c, k in ((2, 4, 6), (3, 3, 3), (4, 4, 8)):
        yield transposed(f"groups{groups}-{c}-to-{k}", (3, 2), (2, 3), (c, k), groups=groups, stride=2)
    yield transposed("upsampled-alone", (3, 5), (4, 4), (3, 3), groups=3, stride=2, padding=1)
    yield transposed("doubled-of-many", (3, 5), (2, 2), (5, 6), 2, stride=2)
    yield transposed(
        "overlapping-of-many", (4, 3), (3, 3), (6, 4), stride=(2, 1), padding=((1, 0), (0, 1)), output_padding=(1, 0)
    )
    yield transposed("long-of-many", 11, 5, (4, 7), stride=3)
    yield transposed("cube-of-many", (2, 3, 2), (2, 2, 2), (4, 5), stride=2, activation="silu")
    yield transposed("no-bias", (3, 3), (2, 2), bias=False)
    for size, kernel in ((4, 3), ((3, 2), (2, 3)), ((2, 2, 3), (2, 1, 2))):
        yield transposed("no-batch", size, kernel, batch=None, stride=2)
        yield transposed("batch0", size, kernel, batch=0)
        yield transposed("batch2", size, kernel, batch=2, stride=2, padding=1)
        yield transposed("from0", size, kernel, (0, 2))
        yield transposed("to0", size, kernel, (2, 0))
    yield transposed("no-cells", (0, 3), (2, 2))


GROUPS = (tiles, kernels, squares, points, steps, paddings, channels, activations, residuals, transposes)
CASES = [case for group in GROUPS for case in group()]
assert all(prod(case.x_shape) < 4000 for case in CASES), "the reference is slow: keep cases small"
