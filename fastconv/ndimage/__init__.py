"""SciPy's image filters, by SciPy's names, on fastconv's kernels."""

from fastconv.ndimage.extrema import maximum_filter, maximum_filter1d, minimum_filter, minimum_filter1d
from fastconv.ndimage.means import uniform_filter, uniform_filter1d
from fastconv.ndimage.morphology import (
    binary_closing,
    binary_dilation,
    binary_erosion,
    binary_opening,
    black_tophat,
    grey_closing,
    grey_dilation,
    grey_erosion,
    grey_opening,
    morphological_gradient,
    morphological_laplace,
    white_tophat,
)

__all__ = [
    "binary_closing",
    "binary_dilation",
    "binary_erosion",
    "binary_opening",
    "black_tophat",
    "grey_closing",
    "grey_dilation",
    "grey_erosion",
    "grey_opening",
    "maximum_filter",
    "maximum_filter1d",
    "minimum_filter",
    "minimum_filter1d",
    "morphological_gradient",
    "morphological_laplace",
    "uniform_filter",
    "uniform_filter1d",
    "white_tophat",
]
