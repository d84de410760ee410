"""Named layers of real networks, so that tests, comparisons and benchmarks speak of the same work.

A name is "network.layer", as in "resnet50.res3_3x3". Sizes are those of the papers, for one image (or clip, or second):

===========  ===================================================================================================
resnet50     He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, table 1; the stride of a
             stage's first block stands on its 3x3 convolution ("v1.5", as torchvision and MLPerf have it)
vgg19        Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
             table 1, column E
mobilenetv2  Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
             2018, table 2
densenet121  Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", 2016, table 1
unet         Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015,
             figure 1: unpadded, 572 x 572 in, 388 x 388 out
wavenet      van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016: dilations 1 to 512, filters
             of 2; the widths it leaves open (64 residual, 256 skip channels, 40 layers) from Arik et al., "Deep
             Voice: Real-time Neural Text-to-Speech", 2017; one second at 16 kHz
c3d          Tran, Bourdev, Fergus, Torresani, Paluri, "Learning Spatiotemporal Features with 3D Convolutional
             Networks", 2014, figure 3: 16 frames of 112 x 112
filters      one-channel and three-channel image filters on 1024 x 1024, output as large as the input
morphology   stride-1 pools on the same image: dilation, erosion and box blur
===========  ===================================================================================================
"""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.problem.convolutions import LAYOUTS

__all__ = ["Layer", "layer", "names", "network", "networks"]

Array = npt.NDArray[Any]
Size = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer: an operation, the shapes it meets and its arguments.

    Attributes
    ----------
    name : str
        "network.layer".
    operation : str
        The function of fastconv that computes it: "conv2d", "max_pool3d" ...
    x_shape : tuple of int
        Batch, channels, then space, whatever the layout.
    w_shape : tuple of int or None
        Output channels, input channels of a group, then space (a transposed convolution: input channels first);
        None for a pool.
    arguments : tuple of (str, value)
        Keyword arguments of the call.
    count : int
        How many layers of this shape the network has.
    channels_last : bool
        Whether the layer's natural memory order is channels last; `arrays` follows it unless told otherwise.
    """

    name: str
    operation: str
    x_shape: Size
    w_shape: Size | None = None
    arguments: tuple[tuple[str, Any], ...] = ()
    count: int = 1
    channels_last: bool = False

    @property
    def rank(self) -> int:
        """Spatial axes."""
        return len(self.x_shape) - 2

    @property
    def layout(self) -> str:
        """The layer's natural layout: "NCHW", "NLC" ..."""
        return LAYOUTS[self.rank][self.channels_last]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments as a new dict."""
        return dict(self.arguments)

    @property
    def shapes(self) -> str:
        """Of input and weights, as in "1x3x224x224 * 64x3x7x7"."""
        return " * ".join("x".join(map(str, shape)) for shape in (self.x_shape, self.w_shape) if shape)

    def with_batch(self, batch: int) -> "Layer":
        """The same layer on `batch` images."""
        return replace(self, x_shape=(batch, *self.x_shape[1:]))

    def arrays(self, dtype: npt.DTypeLike = np.float32, layout: str | None = None, seed: int = 0) -> tuple[Array, Array | None]:
        """Seeded input and weights, C-contiguous in the order of `layout`.

        Parameters
        ----------
        dtype : dtype, optional
            Floating and complex inputs are normal with variance 1, and weights keep outputs near variance 1;
            integers are drawn from -4 to 4 (unsigned: 0 to 8).
        layout : str, optional
            "NCHW" or "NHWC" (and likewise in one and three dimensions); the layer's own if not given.
        seed : int, optional
            The logical values depend on the seed and not on the layout.

        Returns
        -------
        x, w : array, array or None

        Raises
        ------
        ValueError
            If `layout` is not one of the two for this many axes.
        """
        if layout is not None and layout not in LAYOUTS[self.rank]:
            raise ValueError(f"layout of {self.name} must be one of {', '.join(LAYOUTS[self.rank])}, not {layout!r}")
        last = self.channels_last if layout is None else layout == LAYOUTS[self.rank][True]
        rng = np.random.default_rng(seed)
        x = _draw(rng, self.x_shape, np.dtype(dtype), 1.0, last)
        if self.w_shape is None:
            return x, None
        return x, _draw(rng, self.w_shape, np.dtype(dtype), prod(self.w_shape[1:]) ** -0.5, last)


def _draw(rng: np.random.Generator, shape: Size, dtype: np.dtype[Any], scale: float, channels_last: bool) -> Array:
    if dtype.kind in "iu":
        values: Array = rng.integers(0, 9, shape) - (4 if dtype.kind == "i" else 0)
    elif dtype.kind == "c":
        values = scale * np.sqrt(0.5) * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    else:
        values = scale * rng.standard_normal(shape)
    return np.ascontiguousarray(np.moveaxis(values, 1, -1) if channels_last else values, dtype=dtype)


def layer(name: str) -> Layer:
    """The layer called `name`.

    Raises
    ------
    ValueError
        If there is none; the message lists names that come near.

    Examples
    --------
    >>> layer("resnet50.res3_3x3").x_shape
    (1, 128, 28, 28)
    """
    table = _layers()
    if name not in table:
        raise ValueError(f"no layer is called {name!r}{_near(name, list(table))}")
    return table[name]


def network(name: str) -> list[Layer]:
    """The distinct layers of the network called `name`, first layer first; `Layer.count` says how often each occurs.

    Raises
    ------
    ValueError
        If there is none; the message lists all.
    """
    if name not in _NETWORKS:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(_NETWORKS)}")
    return [found for found in _layers().values() if found.name.startswith(name + ".")]


def networks() -> tuple[str, ...]:
    """The names that `network` knows."""
    return tuple(_NETWORKS)


def names() -> tuple[str, ...]:
    """The names that `layer` knows, network by network."""
    return tuple(_layers())


def _near(name: str, known: list[str]) -> str:
    same_layer = [full for full in known if full.split(".")[1] == name.rpartition(".")[2]]
    near = list(dict.fromkeys(same_layer + difflib.get_close_matches(name, known, n=6, cutoff=0.5)))
    if near:
        return f"; near it are {', '.join(near[:8])}"
    return f"; names begin with {', '.join(f'{prefix}.' for prefix in _NETWORKS)}"


@cache
def _layers() -> dict[str, Layer]:
    named = (replace(item, name=f"{prefix}.{item.name}") for prefix, make in _NETWORKS.items() for item in make())
    return {item.name: item for item in named}


def _conv(
    name: str, channels: tuple[int, int], size: int, kernel: int, stride: int = 1, count: int = 1, groups: int = 1
) -> Layer:
    """A 2-D convolution on a square map, padded by half a window."""
    given = {"stride": (stride, 1), "padding": (kernel // 2, 0), "groups": (groups, 1)}
    arguments = tuple((key, value) for key, (value, default) in given.items() if value != default)
    c, k = channels
    return Layer(name, "conv2d", (1, c, size, size), (k, c // groups, kernel, kernel), arguments, count)


def _pool(name: str, kind: str, channels: int, size: int, kernel: int, stride: int, padding: int = 0) -> Layer:
    arguments: tuple[tuple[str, Any], ...] = (("kernel_size", kernel), ("stride", stride))
    if padding:
        arguments += (("padding", padding),)
    return Layer(name, f"{kind}_pool2d", (1, channels, size, size), None, arguments)


def _resnet50() -> Iterator[Layer]:
    yield _conv("conv1", (3, 64), 224, 7, 2)
    yield _pool("pool1", "max", 64, 112, 3, 2, 1)
    entering, size = 64, 56
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        width, stride = 16 * 2**stage, 1 if stage == 2 else 2
        at, out = f"res{stage}", size // stride
        yield _conv(f"{at}_1x1a_first", (entering, width), size, 1)
        if stride == 2:
            yield _conv(f"{at}_3x3_s2", (width, width), size, 3, 2)
        yield _conv(f"{at}_1x1_proj", (entering, 4 * width), size, 1, stride)
        yield _conv(f"{at}_1x1a", (4 * width, width), out, 1, count=blocks - 1)
        yield _conv(f"{at}_3x3", (width, width), out, 3, count=blocks - (stride == 2))
        yield _conv(f"{at}_1x1b", (width, 4 * width), out, 1, count=blocks)
        entering, size = 4 * width, out
    yield _pool("global_pool", "avg", 2048, 7, 7, 7)


def _vgg19() -> Iterator[Layer]:
    entering, size = 3, 224
    for stage, (width, convs) in enumerate(((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)), 1):
        if entering == width:
            yield _conv(f"conv{stage}", (width, width), size, 3, count=convs)
        else:
            yield _conv(f"conv{stage}_1", (entering, width), size, 3)
            yield _conv(f"conv{stage}_2", (width, width), size, 3, count=convs - 1)
        yield _pool(f"pool{stage}", "max", width, size, 2, 2)
        entering, size = width, size // 2


def _mobilenetv2() -> Iterator[Layer]:
    yield _conv("conv1", (3, 32), 224, 3, 2)
    entering, size = 32, 112
    bottlenecks = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for stage, (expansion, width, blocks, first_stride) in enumerate(bottlenecks, 1):
        for at, stride, count in ((f"b{stage}_first", first_stride, 1), (f"b{stage}", 1, blocks - 1)):
            if not count:
                continue
            hidden, out = entering * expansion, size // stride
            if expansion > 1:
                yield _conv(f"{at}_expand", (entering, hidden), size, 1, count=count)
            yield _conv(f"{at}_dw{'_s2' if stride == 2 else ''}", (hidden, hidden), size, 3, stride, count, hidden)
            yield _conv(f"{at}_project", (hidden, width), out, 1, count=count)
            entering, size = width, out
    yield _conv("conv_last", (320, 1280), 7, 1)
    yield _pool("global_pool", "avg", 1280, 7, 7, 7)


def _densenet121() -> Iterator[Layer]:
    growth, blocks = 32, (6, 12, 24, 16)
    yield _conv("conv1", (3, 64), 224, 7, 2)
    yield _pool("pool1", "max", 64, 112, 3, 2, 1)
    channels, size = 64, 56
    for block, count in enumerate(blocks, 1):
        for step in range(count):
            yield _conv(f"dense{block}_1x1_{step + 1}", (channels + step * growth, 4 * growth), size, 1)
        yield _conv(f"dense{block}_3x3", (4 * growth, growth), size, 3, count=count)
        channels += count * growth
        if block < len(blocks):
            yield _conv(f"transition{block}", (channels, channels // 2), size, 1)
            yield _pool(f"transition{block}_pool", "avg", channels // 2, size, 2, 2)
            channels, size = channels // 2, size // 2
    yield _pool("global_pool", "avg", channels, size, size, size)


def _unet() -> Iterator[Layer]:
    def unpadded(name: str, entering: int, width: int, size: int, kernel: int = 3) -> Layer:
        return Layer(name, "conv2d", (1, entering, size, size), (width, entering, kernel, kernel))

    entering, size = 1, 572
    for level, width in enumerate((64, 128, 256, 512, 1024), 1):
        yield unpadded(f"down{level}_1", entering, width, size)
        yield unpadded(f"down{level}_2", width, width, size - 2)
        size -= 4
        if width < 1024:
            yield _pool(f"pool{level}", "max", width, size, 2, 2)
            size //= 2
        entering = width
    for level, width in zip((4, 3, 2, 1), (512, 256, 128, 64), strict=True):
        shape = (2 * width, width, 2, 2)
        yield Layer(f"up{level}_2x2", "conv_transpose2d", (1, 2 * width, size, size), shape, (("stride", 2),))
        size *= 2
        yield unpadded(f"up{level}_1", 2 * width, width, size)
        yield unpadded(f"up{level}_2", width, width, size - 2)
        size -= 4
    yield unpadded("out_1x1", 64, 2, size, 1)


def _wavenet() -> Iterator[Layer]:
    samples, residual, skip, levels, layers = 16000, 64, 256, 256, 40

    def causal(name: str, entering: int, width: int, dilation: int, count: int = 1) -> Layer:
        arguments = (("padding", ((dilation, 0),)), ("dilation", dilation))
        return Layer(name, "conv1d", (1, entering, samples), (width, entering, 2), arguments, count)

    def pointwise(name: str, entering: int, width: int, count: int = 1) -> Layer:
        return Layer(name, "conv1d", (1, entering, samples), (width, entering, 1), (), count)

    yield causal("input", levels, residual, 1)
    for power in range(10):
        yield causal(f"dilated{2**power}", residual, 2 * residual, 2**power, layers // 10)
    yield pointwise("residual", residual, residual, layers)
    yield pointwise("skip", residual, skip, layers)
    yield pointwise("out1", skip, levels)
    yield pointwise("out2", levels, levels)


def _c3d() -> Iterator[Layer]:
    def conv(name: str, entering: int, width: int, size: Size, count: int = 1) -> Layer:
        return Layer(name, "conv3d", (1, entering, *size), (width, entering, 3, 3, 3), (("padding", 1),), count)

    def pool(name: str, channels: int, size: Size, kernel: Size, padding: Size = ()) -> Layer:
        arguments: tuple[tuple[str, Any], ...] = (("kernel_size", kernel), ("stride", kernel))
        if padding:
            arguments += (("padding", padding),)
        return Layer(name, "max_pool3d", (1, channels, *size), None, arguments)

    yield conv("conv1a", 3, 64, (16, 112, 112))
    yield pool("pool1", 64, (16, 112, 112), (1, 2, 2))
    yield conv("conv2a", 64, 128, (16, 56, 56))
    yield pool("pool2", 128, (16, 56, 56), (2, 2, 2))
    yield conv("conv3a", 128, 256, (8, 28, 28))
    yield conv("conv3b", 256, 256, (8, 28, 28))
    yield pool("pool3", 256, (8, 28, 28), (2, 2, 2))
    yield conv("conv4a", 256, 512, (4, 14, 14))
    yield conv("conv4b", 512, 512, (4, 14, 14))
    yield pool("pool4", 512, (4, 14, 14), (2, 2, 2))
    yield conv("conv5", 512, 512, (2, 7, 7), count=2)
    yield pool("pool5", 512, (2, 7, 7), (2, 2, 2), (0, 1, 1))


def _filters() -> Iterator[Layer]:
    for kernel in (3, 5, 7, 9, 11, 15, 21, 31, 63):
        yield _conv(f"k{kernel}", (1, 1), 1024, kernel)
    for kernel in (3, 5, 15):
        yield replace(_conv(f"rgb_k{kernel}", (3, 3), 1024, kernel, groups=3), channels_last=True)


def _morphology() -> Iterator[Layer]:
    for name, kind in (("dilate", "max"), ("erode", "min"), ("blur", "avg")):
        for kernel in (3, 15, 31):
            yield _pool(f"{name}_k{kernel}", kind, 1, 1024, kernel, 1, kernel // 2)


_NETWORKS: dict[str, Callable[[], Iterator[Layer]]] = {
    "resnet50": _resnet50,
    "vgg19": _vgg19,
    "mobilenetv2": _mobilenetv2,
    "densenet121": _densenet121,
    "unet": _unet,
    "wavenet": _wavenet,
    "c3d": _c3d,
    "filters": _filters,
    "morphology": _morphology,
}
