"""Sizes of unfold and fold, and the shape of what is done element by element."""

from dataclasses import dataclass
from math import prod

from fastconv.problem.convolutions import LAYOUTS, Activation, ConvGeometry, Hashed, Size, cached_property


@dataclass(frozen=True)
class FoldGeometry:
    """Sizes of unfold and its adjoint, fold: windows of a (n, c, ...) array as the columns of (n, c * taps, windows).

    `windows` is the geometry of the one-channel convolution whose windows they are.
    """

    operation: str
    batch: int
    channels: int
    windows: ConvGeometry

    @property
    def rank(self) -> int:
        return self.windows.rank

    @property
    def shaped_by(self) -> str:
        """The arguments that make an output large, as an error names them."""
        return "kernel_size, padding and stride" if self.operation == "unfold" else "output_size"

    @property
    def layout(self) -> str:
        return LAYOUTS[self.rank][0]

    @cached_property
    def image_shape(self) -> Size:
        return (self.batch, self.channels, *self.windows.in_size)

    @cached_property
    def column_shape(self) -> Size:
        return (self.batch, self.channels * self.windows.taps, prod(self.windows.out_size))

    @property
    def x_shape(self) -> Size:
        return self.image_shape if self.operation == "unfold" else self.column_shape

    @property
    def out_shape(self) -> Size:
        return self.column_shape if self.operation == "unfold" else self.image_shape

    @property
    def flops(self) -> int:
        """Values moved."""
        return prod(self.column_shape)

    def bytes(self, itemsize: int) -> int:
        """Image and columns, each once."""
        return itemsize * (prod(self.image_shape) + prod(self.column_shape))


@dataclass(frozen=True)
class ElementwiseGeometry(Hashed):
    """The shape of an activation applied on its own."""

    shape: Size
    activation: Activation

    __hash__ = Hashed.__hash__
    operation = "activation"
    shaped_by = "x"

    @property
    def x_shape(self) -> Size:
        return self.shape

    @property
    def out_shape(self) -> Size:
        return self.shape

    @property
    def flops(self) -> int:
        """One per element."""
        return prod(self.shape)

    def bytes(self, itemsize: int) -> int:
        """Read once, written once."""
        return 2 * itemsize * prod(self.shape)
