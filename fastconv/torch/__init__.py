"""fastconv for torch: models whose convolutions and pools run on fastconv, and functions with gradients.

convert(model), report(converted)       conversion, fusing, products, pools, layers, formats
conv2d(input, weight, ...) and kin      functional, operators
"""

from fastconv.torch.conversion import convert, report
from fastconv.torch.functional import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convert",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "report",
]
