"""fastconv: fast convolution and pooling for NumPy arrays on the CPU.

A call goes through these stages, one module each:

    conv2d(x, w, ...)                     api/           signature, docstring; plan, then call
      -> check arrays and arguments       arguments.py, signatures.py
      -> geometry                         geometry.py, pool_geometry.py, fold_geometry.py: frozen; all size arithmetic
      -> choose an implementation         dispatch.py, from the ordered lists of registry.py
      -> pack the weights                 planning.py makes a plan.py object
      -> run                              kernels/

Examples
--------
>>> import numpy as np
>>> import fastconv as fc
>>> image = np.zeros((1, 3, 32, 32), np.float32)
>>> bank = np.zeros((8, 3, 3, 3), np.float32)
>>> fc.conv2d(image, bank, padding="same", activation="relu").shape
(1, 8, 32, 32)
"""

from typing import TYPE_CHECKING, Any

from fastconv.api import *  # noqa: F403
from fastconv.api import __all__ as _functions
from fastconv.plan import ConvPlan, ElementwisePlan, Plan, PoolPlan, UnpoolPlan

if TYPE_CHECKING:
    from fastconv.comparison import compare

__version__ = "0.1.0"
__all__ = ["ConvPlan", "ElementwisePlan", "Plan", "PoolPlan", "UnpoolPlan", "compare", *_functions]


def __getattr__(name: str) -> Any:
    """`compare` is imported when it is first asked for: it brings what only measuring needs."""
    if name == "compare":
        from fastconv.comparison import compare

        globals()["compare"] = compare
        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
