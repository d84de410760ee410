"""The interface of a tutorial: conv, relu and pooling on height x width x channel images, in float64.

Ahmed Gad's "Building Convolutional Neural Network using NumPy from Scratch" (2018) teaches a CNN's first layers with three
functions. These take and give the same arrays, so that its code runs on fastconv by a change of import:

    from fastconv import numpycnn
    maps = numpycnn.conv(image, bank)          # (H, W) or (H, W, C), (filters, k, k) or (filters, k, k, C)
    maps = numpycnn.relu(maps)
    maps = numpycnn.pooling(maps, size=2, stride=2)

What differs: errors are raised, where the tutorial prints and exits; integers are as good as floats; and `pooling` has as
many outputs as there are windows. The tutorial's article allocates floor((H - size + 1) / stride) rows, one too few for
H = 4, size = stride = 2; its repository floor((H - size + 1) / stride + 1), which for H = 5 leaves a row of zeros that no
window wrote. The right number is floor((H - size) / stride) + 1.
"""

import numpy as np
import numpy.typing as npt

import fastconv as api
from fastconv.problem import arguments as check

__all__ = ["conv", "pooling", "relu"]

Maps = npt.NDArray[np.float64]


def _numbers(name: str, value: npt.ArrayLike) -> Maps:
    """An array of real numbers, which masked and complex ones are not, as float64."""
    found = np.asarray(value) if not isinstance(value, np.ma.MaskedArray) else check.array(name, value)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {found.dtype}")
    return found.astype(np.float64, copy=False)


def conv(img: npt.ArrayLike, conv_filter: npt.ArrayLike) -> Maps:
    """Correlates an image with each filter of a bank, where the filter lies wholly inside ("valid").

    Parameters
    ----------
    img : array_like, (H, W) or (H, W, C)
        The image, or the maps of the layer before.
    conv_filter : array_like, (filters, k, k) or (filters, k, k, C)
        The bank; k is odd.

    Returns
    -------
    array of float64, (H - k + 1, W - k + 1, filters)

    Raises
    ------
    ValueError
        If the number of channels differs, the filters are not square, k is even or larger than the image.
    TypeError
        For masked arrays and complex numbers.

    Examples
    --------
    >>> vertical = [[[-1, 0, 1]] * 3]
    >>> conv([[0, 0, 9, 9]] * 3, vertical)[:, :, 0]
    array([[27., 27.]])
    """
    image, bank = _numbers("img", img), _numbers("conv_filter", conv_filter)
    if image.ndim not in (2, 3):
        raise ValueError(f"img must be height x width or height x width x channels, got shape {image.shape}")
    if bank.ndim not in (3, 4):
        raise ValueError(f"conv_filter must be filters x k x k or filters x k x k x channels, got shape {bank.shape}")
    image = image.reshape(*image.shape[:2], -1) if image.ndim == 3 else image[:, :, np.newaxis]
    bank = bank if bank.ndim == 4 else bank[..., np.newaxis]
    if image.shape[2] != bank.shape[3]:
        raise ValueError(f"img and conv_filter must have the same number of channels, got {image.shape[2]} and {bank.shape[3]}")
    rows, columns = bank.shape[1:3]
    if rows != columns:
        raise ValueError(f"conv_filter must be square, got {rows} x {columns}")
    if rows % 2 == 0:
        raise ValueError(f"conv_filter must have an odd size, got {rows} x {columns}")
    if rows > min(image.shape[:2]):
        raise ValueError(f"conv_filter of {rows} x {columns} is larger than img of {image.shape[0]} x {image.shape[1]}")
    return api.conv2d(image, bank, layout="NHWC")


def relu(feature_map: npt.ArrayLike) -> Maps:
    """max(value, 0) of every value.

    Parameters
    ----------
    feature_map : array_like
        Of any shape.

    Returns
    -------
    array of float64, the same shape

    Examples
    --------
    >>> relu([[-1, 2]])
    array([[0., 2.]])
    """
    return api.relu(_numbers("feature_map", feature_map))


def pooling(feature_map: npt.ArrayLike, size: int = 2, stride: int = 2) -> Maps:
    """The maximum of each `size` x `size` window, every `stride` cells.

    Parameters
    ----------
    feature_map : array_like, (H, W) or (H, W, C)
        The maps to shrink.
    size, stride : int
        Cells on a side of the window, and from one window to the next.

    Returns
    -------
    array of float64, (floor((H - size) / stride) + 1, floor((W - size) / stride) + 1, C)
        Two-dimensional if `feature_map` is.

    Raises
    ------
    ValueError, TypeError
        If `size` or `stride` is no int of at least 1, or `size` is larger than the maps.

    Examples
    --------
    >>> pooling([[1, 2, 3, 4], [5, 6, 7, 8]])
    array([[6., 8.]])
    """
    maps = _numbers("feature_map", feature_map)
    if maps.ndim not in (2, 3):
        raise ValueError(f"feature_map must be height x width or height x width x channels, got shape {maps.shape}")
    check.integer("size", size, 1)
    check.integer("stride", stride, 1)
    if size > min(maps.shape[:2]):
        raise ValueError(f"size must be at most {min(maps.shape[:2])}, a side of feature_map, got {size}")
    flat = maps.ndim == 2
    pooled = api.max_pool2d(maps[:, :, np.newaxis] if flat else maps, size, stride, layout="NHWC")
    result: Maps = pooled[:, :, 0] if flat else pooled
    return result
