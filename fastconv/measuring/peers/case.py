"""What the two sides of a peer speak of: the case, and what a library makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.pools import PoolGeometry

NAMES = ("torch", "torch_channels_last", "onnxruntime", "openvino", "ncnn", "mnn", "cv2", "scipy")


class Refused(Exception):
    """A library cannot serve a case; the message is the reason that the user reads."""


@dataclass(frozen=True)
class Case:
    """A convolution or pool with its arrays, in the layout of the geometry.

    Attributes
    ----------
    geometry : ConvGeometry or PoolGeometry
        All sizes, normalised; `plan.geometry`.
    x, w, bias : array or None
        As fastconv gets them.
    called : bool
        Arrays come with each call, weights too, as a function's do: no library may convert them before the clock starts.
    """

    geometry: ConvGeometry | PoolGeometry
    x: Array
    w: Array | None = None
    bias: Array | None = None
    called: bool = False

    @cached_property
    def image(self) -> Array:
        """X as (n, c, ...)."""
        return self.geometry.channels_first(self.x)

    @cached_property
    def weights(self) -> Array:
        """W as (k, c, ...)."""
        if self.w is None:
            raise Refused("the case has no weights")
        return self.geometry.channels_first(self.w)

    def told_before(self, library: str) -> None:
        """Refuse a case whose arrays come with each call, where a library is told them before."""
        if self.called:
            raise Refused(f"{library} runs models, which are told their weights before")

    @property
    def symmetric(self) -> bool:
        """Whether each axis is padded alike on both sides."""
        return all(before == after for before, after in self.geometry.padding)

    @property
    def before(self) -> tuple[int, ...]:
        return tuple(before for before, _ in self.geometry.padding)


class Prepared(NamedTuple):
    """A case as a library will run it.

    Attributes
    ----------
    run : callable
        The timed call, without arguments.
    result : callable
        What `run` returned -> the output as an array (n, c, ...).
    note : str
        What the reader of the timing should know; may be empty.
    keeps : tuple
        Objects whose memory the library reads without owning it.
    """

    run: Callable[[], Any]
    result: Callable[[Any], Array]
    note: str = ""
    keeps: tuple[Any, ...] = ()


class Library(NamedTuple):
    """A library that was imported and told its number of threads."""

    version: str
    prepare: Callable[[Case], Prepared]
