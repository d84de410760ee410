"""SciPy's image filters, by SciPy's names, on fastconv's kernels: any number of axes, every dtype.

    import fastconv.ndimage as ndimage          # for scipy.ndimage

Where SciPy leaves a NaN's reach undefined, here it reaches the windows that hold it and no other.
"""

from fastconv.ndimage.correlation import convolve, convolve1d, correlate, correlate1d
from fastconv.ndimage.derivatives import (
    gaussian_gradient_magnitude,
    gaussian_laplace,
    generic_gradient_magnitude,
    generic_laplace,
    laplace,
    prewitt,
    sobel,
)
from fastconv.ndimage.filters import gaussian_filter, gaussian_filter1d
from fastconv.ndimage.ranks import median_filter, percentile_filter, rank_filter

__all__ = [
    "convolve",
    "convolve1d",
    "correlate",
    "correlate1d",
    "gaussian_filter",
    "gaussian_filter1d",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "generic_gradient_magnitude",
    "generic_laplace",
    "laplace",
    "median_filter",
    "percentile_filter",
    "prewitt",
    "rank_filter",
    "sobel",
]
