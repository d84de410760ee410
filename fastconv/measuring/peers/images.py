"""cv2 and scipy, which filter images: one-channel and depthwise correlations, and pools with stride 1."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastconv.measuring.peers.case import Case, Library, Prepared, Refused
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.pools import PoolGeometry

CV2_CHANNELS = 512  # the most that one image of OpenCV's can have


def load_cv2(threads: int) -> Library:
    """OpenCV: filter2D for correlations; dilate, erode and boxFilter for pools."""
    import cv2

    cv2.setNumThreads(threads)

    def prepare(case: Case) -> Prepared:
        if case.x.dtype.name not in ("float32", "float64"):
            raise Refused(f"cv2 is compared on float32 and float64, not {case.x.dtype}")
        if case.geometry.rank != 2:
            raise Refused("cv2 has 2-D images only")
        _require_plain(case, "cv2")
        if isinstance(case.geometry, ConvGeometry):
            return _filter2d(cv2, case, case.geometry)
        return _box(cv2, case, case.geometry)

    return Library(cv2.__version__, prepare)


def load_scipy(threads: int) -> Library:
    """SciPy, on one thread: the faster of signal.correlate and signal.oaconvolve; ndimage's filters for pools."""
    import scipy

    def prepare(case: Case) -> Prepared:
        if case.x.dtype.kind != "f" or case.x.dtype.itemsize < 4:
            raise Refused(f"scipy is compared on float32 and float64, not {case.x.dtype}")
        _require_plain(case, "scipy")
        if isinstance(case.geometry, ConvGeometry):
            return _correlate(case, case.geometry)
        return _ndimage(case, case.geometry)

    return Library(scipy.__version__, prepare)


def _require_plain(case: Case, who: str) -> None:
    """What both ask for: no strides, no dilation, no channel that mixes with another."""
    geometry = case.geometry
    if set(geometry.stride) != {1} or getattr(geometry, "adaptive", False):
        raise Refused(f"{who} filters with stride 1 only")
    if set(geometry.dilation) != {1}:
        raise Refused(f"{who} has no dilation")
    if isinstance(geometry, ConvGeometry):
        if geometry.transposed or geometry.in_per_group != 1:
            raise Refused(f"{who} does not sum over channels")
        if geometry.activation.kind != "none":
            raise Refused(f"{who} has no activation")
    elif geometry.kind == "lp" or geometry.return_indices or geometry.divisor_override is not None:
        raise Refused(f"{who} has only plain max, min, rank and average pools")
    elif geometry.kind == "avg" and not geometry.count_include_pad and any(map(sum, geometry.padding)):
        raise Refused(f"{who} counts padding into averages")
    if any(out > size for out, size in zip(geometry.out_size, geometry.in_size, strict=True)):
        raise Refused(f"{who} gives an output as large as the image at most")


def footprint_of(geometry: PoolGeometry) -> Array:
    """The cells of a window that count, as an array of bools."""
    found = np.zeros(geometry.kernel, bool)
    found.flat[geometry.members] = True
    return found


def _crop(case: Case, y: Array) -> Array:
    """The outputs among those of a filter that gives one per cell (n, c, ...), the first at the first window."""
    return y[(slice(None), slice(None), *map(slice, case.geometry.out_size))]


# cv2 --------------------------------------------------------------------------------------------------------------------


def _filter2d(cv2: Any, case: Case, geometry: ConvGeometry) -> Prepared:
    borders = {"zeros": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE}
    if geometry.border.mode not in borders:
        raise Refused(f"cv2.filter2D has no border {geometry.border.mode}")
    if geometry.border.mode != "zeros" and geometry.out_size != geometry.in_size:
        raise Refused("cv2.filter2D pads to the size of the image")
    anchor = case.before[::-1]
    if any(at >= size for at, size in zip(case.before, geometry.kernel, strict=True)):
        raise Refused("cv2 anchors a kernel at one of its own cells")
    planes = np.ascontiguousarray(case.image)
    kernels = np.ascontiguousarray(case.weights[:, 0])
    bias = np.zeros(geometry.out_channels) if case.bias is None else case.bias
    y = np.empty((geometry.batch, geometry.out_channels, *geometry.in_size), planes.dtype)
    jobs = [
        (planes[n, k // geometry.out_per_group], kernels[k], y[n, k], float(bias[k]))
        for n in range(geometry.batch)
        for k in range(geometry.out_channels)
    ]
    border = borders[geometry.border.mode]

    def run() -> None:
        for plane, kernel, out, delta in jobs:
            cv2.filter2D(plane, -1, kernel, out, anchor, delta, border)

    return Prepared(run, lambda _: _crop(case, y))


def _box(cv2: Any, case: Case, geometry: PoolGeometry) -> Prepared:
    """Planes for channels first, whole pixels for channels last, as the memory of the case has them."""
    pixels = geometry.channels_last and geometry.channels <= CV2_CHANNELS
    images = np.ascontiguousarray(case.x if pixels else case.image.reshape(-1, *geometry.in_size))
    y, anchor = np.empty_like(images), case.before[::-1]
    size, border = geometry.kernel[::-1], cv2.BORDER_CONSTANT
    if geometry.kind == "avg":
        pool = partial(cv2.boxFilter, ddepth=-1, ksize=size, anchor=anchor, normalize=True, borderType=border)
    else:
        if geometry.kind == "rank":
            raise Refused("cv2 has medians with a border of its own, and no other ranks")
        element = footprint_of(geometry).astype(np.uint8)
        function = cv2.dilate if geometry.kind == "max" else cv2.erode
        pool = partial(function, kernel=element, anchor=anchor, borderType=border)

    def run() -> None:
        for image, out in zip(images, y, strict=True):
            pool(image, dst=out)

    def result(_: Any) -> Array:
        whole = np.moveaxis(y, -1, 1) if pixels else y.reshape(case.image.shape)
        return _crop(case, whole)

    return Prepared(run, result)


# scipy ------------------------------------------------------------------------------------------------------------------


def _correlate(case: Case, geometry: ConvGeometry) -> Prepared:
    from scipy import signal

    if geometry.border.mode != "zeros" or case.bias is not None:
        raise Refused("scipy.signal.correlate has neither bias nor padding modes")
    halves = tuple(((taps - 1) // 2, taps // 2) for taps in geometry.kernel)
    modes = {"valid": ((0, 0),) * geometry.rank, "same": halves}
    mode = next((name for name, pads in modes.items() if pads == geometry.padding), None)
    if mode is None or (mode == "same" and not all(taps % 2 for taps in geometry.kernel)):
        raise Refused("scipy.signal.correlate is compared without padding, or with that of an odd kernel's half")
    planes, kernels = np.ascontiguousarray(case.image), np.ascontiguousarray(case.weights[:, 0])
    flipped = np.ascontiguousarray(np.flip(kernels, tuple(range(1, kernels.ndim))))
    pairs = [(n, k) for n in range(geometry.batch) for k in range(geometry.out_channels)]
    share = geometry.out_per_group

    def correlate() -> list[Array]:
        return [signal.correlate(planes[n, k // share], kernels[k], mode) for n, k in pairs]

    def overlap_add() -> list[Array]:
        return [signal.oaconvolve(planes[n, k // share], flipped[k], mode) for n, k in pairs]

    run = min((correlate, overlap_add), key=_seconds)
    shape = (geometry.batch, geometry.out_channels, *geometry.out_size)
    name = "signal.correlate" if run is correlate else "signal.oaconvolve"
    return Prepared(run, lambda found: np.stack(found).reshape(shape), f"{name}, one thread")


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _ndimage(case: Case, geometry: PoolGeometry) -> Prepared:
    from scipy import ndimage

    x = np.ascontiguousarray(case.image)
    y = np.empty_like(x)
    origin = tuple(before - taps // 2 for before, taps in zip(case.before, geometry.kernel, strict=True))
    if geometry.kind == "rank":
        modes = {"reflect": "mirror", "symmetric": "reflect", "replicate": "nearest", "circular": "wrap"}
        border = geometry.border
        if border is not None and geometry.in_size != geometry.out_size:
            raise Refused("ndimage.rank_filter is compared without padding, or with one output a cell")
        find = partial(ndimage.rank_filter, x, geometry.order, footprint=footprint_of(geometry)[None, None], output=y)
        mode = "constant" if border is None else modes.get(border.mode, "constant")
        run = partial(find, mode=mode, cval=0 if border is None else border.value, origin=(0, 0, *origin))
        return Prepared(run, lambda _: _crop(case, y), "ndimage.rank_filter, one thread")
    functions = {
        "max": (ndimage.maximum_filter, -np.inf),
        "min": (ndimage.minimum_filter, np.inf),
        "avg": (ndimage.uniform_filter, 0.0),
    }
    function, outside = functions[geometry.kind]
    window: dict[str, Any] = {"size": (1, 1, *geometry.kernel)}
    if geometry.footprint is not None:
        window = {"footprint": footprint_of(geometry)[None, None]}
    run = partial(function, x, **window, output=y, mode="constant", cval=outside, origin=(0, 0, *origin))
    return Prepared(run, lambda _: _crop(case, y), f"ndimage.{function.__name__}, one thread")
