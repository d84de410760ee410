"""Cases of enough operations that three threads share the work."""

from typing import Any

from case import Case


def large(operation: str, x: tuple[int, ...], w: tuple[int, ...] | None = None, **options: Any) -> Case:
    """A case of enough operations that three threads share it."""
    bias = None if w is None else (w[1] if "transpose" in operation else w[0])
    return Case("large", operation, x, w, bias, tuple(options.items()))


LARGE = [
    large("conv2d", (1, 8, 31, 33), (17, 8, 3, 3), padding=1),
    large("conv2d", (1, 31, 33, 8), (17, 3, 3, 8), padding=1, layout="NHWC", activation="relu"),
    large("conv2d", (3, 64, 29, 31), (64, 1, 3, 3), groups=64, padding=1),
    large("conv2d", (3, 29, 31, 64), (64, 3, 3, 1), groups=64, padding=1, layout="NHWC"),
    large("conv2d", (2, 12, 30, 30), (18, 6, 3, 3), groups=2, stride=(1, 2), dilation=(2, 1)),
    large("conv2d", (1, 1, 150, 151), (1, 1, 7, 7), padding=3),
    large("conv1d", (3, 16, 501), (24, 16, 5), stride=2),
    large("conv3d", (1, 4, 9, 15, 16), (9, 4, 3, 3, 3), padding=1),
    large("conv_transpose2d", (2, 8, 17, 19), (8, 11, 3, 3), stride=2, padding=1),
    large("max_pool2d", (3, 7, 64, 64), kernel_size=3, stride=1, padding=1, return_indices=True),
    large("min_pool2d", (3, 64, 64, 7), kernel_size=3, stride=1, padding=1, layout="NHWC"),
    large("avg_pool2d", (3, 7, 64, 64), kernel_size=3, stride=1, padding=1, ceil_mode=True),
    large("max_pool2d", (1, 2, 300, 301), kernel_size=9, stride=1, padding=4),
    large("avg_pool2d", (1, 200, 210, 5), kernel_size=(7, 6), stride=1, layout="NHWC"),
    large("lp_pool2d", (2, 5, 120, 132), norm_type=2, kernel_size=3, stride=1),
    large("global_avg_pool", (4, 130, 40, 41)),
    large("lp_pool2d", (2, 5, 32, 32), norm_type=3, kernel_size=3, stride=1),
    large("adaptive_avg_pool2d", (3, 29, 64, 64), output_size=(7, 5)),
    large("max_unpool2d", (3, 17, 50, 50), kernel_size=2),
    large("unfold", (3, 9, 64, 64), kernel_size=(3, 3), padding=1),
    large("fold", (3, 81, 4096), output_size=(64, 64), kernel_size=(3, 3), padding=1),
    large("silu", (5, 40_009)),
    large("conv2d_weight", (3, 8, 31, 33), weight_size=(17, 8, 3, 3), padding=1),
    large("max_pool2d_input", (3, 7, 64, 64), input_size=(3, 7, 66, 66)),
    large("avg_pool2d_input", (3, 64, 64, 7), input_size=(3, 66, 66, 7), kernel_size=3, stride=1, layout="NHWC"),
    large("lp_pool2d_input", (2, 5, 32, 32), input_size=(2, 5, 34, 34), norm_type=3, kernel_size=3, stride=1),
]
