"""SciPy's image filters, by SciPy's names, on fastconv's kernels: any number of axes, every dtype.

    import fastconv.ndimage as ndimage          # for scipy.ndimage

Where SciPy leaves a NaN's reach undefined, here it reaches the windows that hold it and no other.
"""

from fastconv.doors import open_to_lazy_arrays
from fastconv.ndimage.binary import binary_closing, binary_dilation, binary_erosion, binary_opening
from fastconv.ndimage.correlation import convolve, convolve1d, correlate, correlate1d
from fastconv.ndimage.derivatives import gaussian_laplace, generic_laplace, laplace, prewitt, sobel
from fastconv.ndimage.extrema import maximum_filter, maximum_filter1d, minimum_filter, minimum_filter1d
from fastconv.ndimage.filters import gaussian_filter, gaussian_filter1d
from fastconv.ndimage.magnitudes import gaussian_gradient_magnitude, generic_gradient_magnitude
from fastconv.ndimage.means import uniform_filter, uniform_filter1d
from fastconv.ndimage.morphology import (
    black_tophat,
    grey_closing,
    grey_dilation,
    grey_erosion,
    grey_opening,
    morphological_gradient,
    morphological_laplace,
    white_tophat,
)
from fastconv.ndimage.ranks import median_filter, percentile_filter, rank_filter

__all__ = [
    "binary_closing",
    "binary_dilation",
    "binary_erosion",
    "binary_opening",
    "black_tophat",
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
    "grey_closing",
    "grey_dilation",
    "grey_erosion",
    "grey_opening",
    "laplace",
    "maximum_filter",
    "maximum_filter1d",
    "median_filter",
    "minimum_filter",
    "minimum_filter1d",
    "morphological_gradient",
    "morphological_laplace",
    "percentile_filter",
    "prewitt",
    "rank_filter",
    "sobel",
    "uniform_filter",
    "uniform_filter1d",
    "white_tophat",
]

for _name in __all__:
    globals()[_name] = open_to_lazy_arrays(globals()[_name], "fastconv.ndimage")
