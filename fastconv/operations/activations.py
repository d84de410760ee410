"""Activations as functions of their own; a convolution applies them as it writes, which costs nothing."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.operations.types import Array
from fastconv.plans.plan import ElementwisePlan
from fastconv.plans.planning import plan_activation
from fastconv.problem.arguments import array


def leaky_relu(
    x: npt.ArrayLike, negative_slope: float = 0.01, out: Array | None = None, *, implementation: str = "auto"
) -> Array:
    """x, or negative_slope * x where that is negative, element by element; a NaN stays a NaN.

    Parameters
    ----------
    x : array
        Of any shape. Float types only.
    negative_slope : float
        The slope below zero.
    out : array, optional
        Where to write the result; it may be `x` itself.
    implementation : str
        "auto", or a name from ``implementations("leaky_relu")``.

    Returns
    -------
    array
        Of the shape and dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.leaky_relu(np.array([-2.0, 0.0, 2.0]))
    array([-0.02,  0.  ,  2.  ])
    """
    x = array("x", x)
    result: Array = plan_leaky_relu(x.shape, negative_slope, implementation=implementation, dtype=x.dtype)(x, out)
    return result


def plan_leaky_relu(
    x_shape: Sequence[int], negative_slope: float = 0.01, *, implementation: str = "auto", dtype: npt.DTypeLike | None = None
) -> ElementwisePlan:
    """Plan a `leaky_relu` for arrays of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the arrays to come.
    negative_slope : float
        The slope below zero.
    implementation : str
        As in `leaky_relu`.
    dtype : dtype, optional
        Of the arrays to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([-2.0, 0.0, 2.0])
    >>> fc.plan_leaky_relu(x.shape, dtype=x.dtype)(x)
    array([-0.02,  0.  ,  2.  ])
    """
    return plan_activation("leaky_relu", ("leaky_relu", negative_slope), x_shape, dtype, implementation=implementation)


def silu(x: npt.ArrayLike, out: Array | None = None, *, implementation: str = "auto") -> Array:
    """X / (1 + exp(-x)), element by element; a NaN stays a NaN.

    Parameters
    ----------
    x : array
        Of any shape. Float types only.
    out : array, optional
        Where to write the result; it may be `x` itself.
    implementation : str
        "auto", or a name from ``implementations("silu")``.

    Returns
    -------
    array
        Of the shape and dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.silu(np.array([0.0]))
    array([0.])
    """
    x = array("x", x)
    result: Array = plan_silu(x.shape, implementation=implementation, dtype=x.dtype)(x, out)
    return result


def plan_silu(x_shape: Sequence[int], *, implementation: str = "auto", dtype: npt.DTypeLike | None = None) -> ElementwisePlan:
    """Plan a `silu` for arrays of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the arrays to come.
    implementation : str
        As in `silu`.
    dtype : dtype, optional
        Of the arrays to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([0.0])
    >>> fc.plan_silu(x.shape, dtype=x.dtype)(x)
    array([0.])
    """
    return plan_activation("silu", "silu", x_shape, dtype, implementation=implementation)


def hardswish(x: npt.ArrayLike, out: Array | None = None, *, implementation: str = "auto") -> Array:
    """X * min(max(x + 3, 0), 6) / 6, element by element; a NaN stays a NaN.

    Parameters
    ----------
    x : array
        Of any shape. Float types only.
    out : array, optional
        Where to write the result; it may be `x` itself.
    implementation : str
        "auto", or a name from ``implementations("hardswish")``.

    Returns
    -------
    array
        Of the shape and dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.hardswish(np.array([-4.0, 0.0, 3.0]))
    array([-0.,  0.,  3.])
    """
    x = array("x", x)
    result: Array = plan_hardswish(x.shape, implementation=implementation, dtype=x.dtype)(x, out)
    return result


def plan_hardswish(
    x_shape: Sequence[int], *, implementation: str = "auto", dtype: npt.DTypeLike | None = None
) -> ElementwisePlan:
    """Plan a `hardswish` for arrays of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the arrays to come.
    implementation : str
        As in `hardswish`.
    dtype : dtype, optional
        Of the arrays to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([-4.0, 0.0, 3.0])
    >>> fc.plan_hardswish(x.shape, dtype=x.dtype)(x)
    array([-0.,  0.,  3.])
    """
    return plan_activation("hardswish", "hardswish", x_shape, dtype, implementation=implementation)
