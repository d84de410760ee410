"""fastconv for torch: models whose convolutions and pools run on fastconv, and functions with gradients.

    convert(model), report(converted)       conversion, fusing, layers
    conv2d(x, weight, ...) and its kin      operators
"""

from fastconv.torch.conversion import convert, report

__all__ = ["convert", "report"]
