"""How the convolution functions compute: which part of the full result, by sums or by transforms, and which is cheaper.

A Part says for every axis where the outputs start in the full convolution, and how many there are. Output p of the full one is
the sum over j of in1[p - j] * in2[j]; the smaller of the two arrays is the kernel.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.problem.convolutions import Pairs, Size
from fastconv.signal import spectra, sums
from fastconv.signal.arrays import Array, largest
from fastconv.signal.plans import Planned, local
from fastconv.signal.spectra import transformed_in

Part = tuple[tuple[int, int], ...]

FEW = 100_000  # products that numpy.convolve sums before fastconv would have begun
LARGE_KERNELS = 2.0  # times its estimate is what a call takes whose kernel is most of a block
SHORT = 2048  # points of a transform that is over before blocks would have begun
SUMS = 5e8  # products a second of plain loops
WHOLE = 1 << 46  # whole results below this are right after a transform and a rounding
ROUNDED = 1 << np.finfo(np.float64).nmant  # and those that SciPy rounds


def part(shape1: Size, shape2: Size, mode: str, axes: Sequence[int] | None = None) -> Part:
    """Where the outputs of a mode lie in the full convolution: "same" is the middle, of the first array's shape."""
    axes = range(len(shape1)) if axes is None else axes
    found = []
    for axis, (n, k) in enumerate(zip(shape1, shape2, strict=True)):
        full = n + k - 1 if axis in axes else max(n, k)
        count = full if mode == "full" else n if mode == "same" else n - k + 1 if axis in axes else full
        found.append(((full - count) // 2, count))
    return tuple(found)


def swapped(mode: str, shape1: Size, shape2: Size, axes: Sequence[int] | None = None) -> bool:
    """Whether the second array is the one that "valid" slides the first over; neither being so is an error."""
    if mode != "valid" or not shape1:
        return False
    pairs = [(shape1[axis], shape2[axis]) for axis in (range(len(shape1)) if axes is None else axes)]
    if all(n >= k for n, k in pairs):
        return False
    if all(k >= n for n, k in pairs):
        return True
    raise ValueError("For 'valid' mode, one must be at least as large as the other in every dimension")


def taps(in1: Array, in2: Array) -> tuple[Array, Array]:
    """(the larger array, the smaller one turned around), to be correlated."""
    x, w = (in1, in2) if in2.size <= in1.size else (in2, in1)
    return x, w[(slice(None, None, -1),) * w.ndim]


def pads_of(x: Array, w: Array, wanted: Part) -> Pairs:
    """The cells around x for outputs start .. start + count of the full convolution."""
    pads = []
    for n, k, (start, count) in zip(x.shape, w.shape, wanted, strict=True):
        pads.append((k - 1 - start, start + count - n))
    return tuple(pads)


# By sums ----------------------------------------------------------------------------------------------------------------


def by_sums(in1: Array, in2: Array, mode: str, dtype: np.dtype[Any]) -> Array:
    """A mode's part of the convolution, of sums of products: few of one axis are NumPy's affair."""
    wanted = part(in1.shape, in2.shape, mode)
    if in1.ndim == 1 and (in1.size * in2.size <= FEW or not has_kernels(in1, in2, dtype)):
        ((start, count),) = wanted
        found: Array = np.convolve(in1, in2, "valid" if mode == "valid" else "full")
        return found if mode == "valid" else found[start : start + count]
    x, w = taps(in1, in2)
    return sums.correlated(sums.as_whole(x), sums.as_whole(w), pads_of(x, w, wanted), dtype)


def has_kernels(in1: Array, in2: Array, dtype: np.dtype[Any]) -> bool:
    """Whether sums of this dtype run on vectors."""
    if dtype.kind in "iu":
        return sums.carried(sums.as_whole(in1), sums.as_whole(in2))[1] is not None
    return dtype.char in "fdFD"


# By transforms ----------------------------------------------------------------------------------------------------------


class Roles(NamedTuple):
    """A convolution as a correlation of a signal with a kernel, which has one cell along the axes that are not convolved."""

    x: Array
    w: Array
    pads: Pairs
    dtype: np.dtype[Any]
    whole: float  # seconds of transforms of whole arrays

    def by_blocks(self) -> Planned | None:
        """The plan by transforms of blocks, where the kernel fits one and they should take no longer than whole arrays."""
        planned = sums.spectrally(self.x, self.w, self.pads, self.dtype)
        return None if planned is None or LARGE_KERNELS * planned.seconds > self.whole else planned


def by_transforms(in1: Array, in2: Array, mode: str, axes: Sequence[int], may_sum: bool) -> Array:
    """A mode's part of the convolution along `axes`: by blocks where the kernel fits one, else of whole arrays.

    `may_sum`, sums of products are taken where they are cheaper still, as they are with few taps.
    """
    wanted = part(in1.shape, in2.shape, mode, axes)
    roles = roles_of(in1, in2, wanted, axes)
    if roles is not None:
        blocks = roles.by_blocks()
        least = roles.whole if blocks is None else blocks.seconds
        if may_sum and seconds_of_sums(roles.x, roles.w, roles.pads, roles.dtype) < least:
            return sums.correlated(*roles[:4])
        if blocks is not None:
            return sums.correlated_spectrally(blocks, *roles[:4])
    y = spectra.convolved(in1, in2, axes)
    kept = y[tuple(slice(start, start + count) for start, count in wanted)]
    return kept if kept.flags.c_contiguous else kept.copy()


def roles_of(in1: Array, in2: Array, wanted: Part, axes: Sequence[int]) -> Roles | None:
    """Which array is the kernel, where one may be, and the transform is not a small one anyhow."""
    dtype = np.result_type(transformed_in(in1.dtype), transformed_in(in2.dtype))
    full = tuple(in1.shape[axis] + in2.shape[axis] - 1 for axis in axes)
    if dtype.char not in "fdFD" or prod(full) <= SHORT:
        return None
    others = [axis for axis in range(in1.ndim) if axis not in axes]
    pairs = [(in1, in2), (in2, in1)] if in2.size <= in1.size else [(in2, in1), (in1, in2)]
    found = next(((x, w) for x, w in pairs if all(w.shape[axis] == 1 for axis in others)), None)
    if found is None:
        return None
    x, w = found
    # Along the other axes a part that is not all of x is what "same" leaves of an array longer than the first.
    pads = pads_of(x, w, wanted)
    w = w[(slice(None, None, -1),) * w.ndim]
    x, pads = sums.cropped(sums.as_whole(x), pads)
    whole = spectra.seconds(full, dtype.kind == "c") * prod(x.shape[axis] for axis in others)
    return Roles(x, sums.as_whole(w), pads, dtype, whole)


# Which is cheaper -------------------------------------------------------------------------------------------------------


def cheaper(in1: Array, in2: Array, mode: str) -> str:
    """ "direct" or "fft": the cheaper by fastconv's estimates; "direct" where a transform would not give the same numbers."""
    dtype = np.result_type(in1, in2)
    if dtype == np.float16 and in1.ndim > 1:
        return "fft"  # whose sums are float32's
    if dtype.kind not in "iufc" or dtype.itemsize > np.dtype(dtype.char.upper() if dtype.kind == "c" else "d").itemsize:
        return "direct"
    if "u" in (in1.dtype.kind, in2.dtype.kind) or "i" in (in1.dtype.kind, in2.dtype.kind):
        limit = WHOLE if dtype.kind in "iu" else ROUNDED
        if largest_of(in1) * largest_of(in2) * min(in1.size, in2.size) >= limit:
            return "direct"
    products = in1.size * in2.size
    if products <= FEW:
        return "direct"
    wanted = part(in1.shape, in2.shape, mode)
    roles = roles_of(in1, in2, wanted, range(in1.ndim))
    if roles is None:
        full = tuple(n + k - 1 for n, k in zip(in1.shape, in2.shape, strict=True))
        transforms = spectra.seconds(full, dtype.kind == "c")
    else:
        blocks = roles.by_blocks()
        transforms = roles.whole if blocks is None else blocks.seconds
    x, w = taps(in1, in2)
    x, pads = sums.cropped(x, pads_of(x, w, wanted))
    return "fft" if transforms < seconds_of_sums(x, w, pads, dtype) else "direct"


def largest_of(x: Array) -> int:
    """A bound of the magnitudes, for what is not whole too."""
    if x.dtype.kind in "biu":
        return largest(x)
    top = float(np.abs(x).max(initial=0))
    return int(top) + 1 if np.isfinite(top) else ROUNDED


def seconds_of_sums(x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any]) -> float:
    """What sums of products should take."""
    real = sums.DOUBLE if dtype.kind in "iu" else np.dtype(dtype.char.lower())
    times = (1 + (x.dtype.kind == "c")) * (1 + (w.dtype.kind == "c"))
    zero = np.zeros((), real)
    call = sums.call_of(np.broadcast_to(zero, x.shape), np.broadcast_to(zero, w.shape), pads, real)
    if call is None or dtype.char not in "fdFDbhilqBHILQ":
        return prod(sums.out_shape(x.shape, w.shape, pads)) * w.size / SUMS
    return times * local(call).seconds
