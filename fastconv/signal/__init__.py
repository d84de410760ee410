"""scipy.signal's convolutions and filters by SciPy's names, signatures and results, on fastconv's kernels.

    import fastconv.signal as signal        # in place of: from scipy import signal

SciPy is not needed. What SciPy serves and these functions do not raises `fastconv.served.NotServed`, a TypeError, before
anything is written.
"""

from fastconv.doors import open_to_lazy_arrays
from fastconv.signal.convolution import choose_conv_method, convolve, correlate, correlation_lags, fftconvolve, oaconvolve
from fastconv.signal.filters import lfilter, medfilt, medfilt2d
from fastconv.signal.images import convolve2d, correlate2d
from fastconv.signal.resampling import decimate, resample_poly, upfirdn

__all__ = [
    "choose_conv_method",
    "convolve",
    "convolve2d",
    "correlate",
    "correlate2d",
    "correlation_lags",
    "decimate",
    "fftconvolve",
    "lfilter",
    "medfilt",
    "medfilt2d",
    "oaconvolve",
    "resample_poly",
    "upfirdn",
]

for _name in __all__:
    globals()[_name] = open_to_lazy_arrays(globals()[_name], "fastconv.signal")
