"""fastconv: fast convolution and pooling for NumPy arrays on the CPU.

A call goes through these stages, one room each:

    conv2d(x, w, ...)                     operations/   signature, docstring; plan, then call
      -> check arrays and arguments       problem/      arguments, signatures: every error that a user meets
      -> geometry                         problem/      frozen: all size arithmetic
      -> choose an implementation         plans/        dispatch, from the ordered lists of the registry
      -> pack the weights                 plans/        planning makes a Plan
      -> run                              kernels/      reference, strided, im2col, loops; simd/ a family a folder

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> image = np.zeros((1, 3, 32, 32), np.float32)
>>> bank = np.zeros((8, 3, 3, 3), np.float32)
>>> fc.conv2d(image, bank, padding="same", activation="relu").shape
(1, 8, 32, 32)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastconv.operations import *  # noqa: F403
from fastconv.operations import __all__ as _operations
from fastconv.plans.kinds import ConvPlan, ElementwisePlan, PoolPlan, UnpoolPlan
from fastconv.plans.plan import Plan

if TYPE_CHECKING:
    from fastconv import grad as grad
    from fastconv import ndimage as ndimage
    from fastconv import signal as signal
    from fastconv.measuring.comparison import compare
    from fastconv.patching import patch_scipy, unpatch_scipy

__version__ = "0.1.0"
__all__ = [
    "ConvPlan",
    "ElementwisePlan",
    "Plan",
    "PoolPlan",
    "UnpoolPlan",
    "compare",
    "grad",
    "ndimage",
    "patch_scipy",
    "signal",
    "unpatch_scipy",
    *_operations,
]


def __getattr__(name: str) -> Any:
    """What is imported when it is first asked for: it brings what only measuring needs, or has names of its own."""
    if name in ("grad", "ndimage", "signal"):
        return import_module(f"fastconv.{name}")
    if name in ("patch_scipy", "unpatch_scipy"):
        return getattr(import_module("fastconv.patching"), name)
    if name == "compare":
        from fastconv.measuring.comparison import compare

        globals()["compare"] = compare
        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
