"""Activations as functions of their own; a convolution applies them as it writes, which costs nothing."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.api.types import Array
from fastconv.arguments import array
from fastconv.plan import ElementwisePlan, plan_activation


def relu(x: npt.ArrayLike, out: Array | None = None, *, implementation: str = "auto") -> Array:
    """max(x, 0), element by element; a NaN stays a NaN.

    Parameters
    ----------
    x : array
        Of any shape.
    out : array, optional
        Where to write the result; it may be `x` itself.
    implementation : str
        "auto", or a name from ``implementations("relu")``.

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
    >>> fc.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    x = array("x", x)
    result: Array = plan_relu(x.shape, implementation=implementation, dtype=x.dtype)(x, out)
    return result


def plan_relu(x_shape: Sequence[int], *, implementation: str = "auto", dtype: npt.DTypeLike | None = None) -> ElementwisePlan:
    """Plan a `relu` for arrays of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the arrays to come.
    implementation : str
        As in `relu`.
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
    >>> x = np.array([-1.0, 0.0, 2.0])
    >>> fc.plan_relu(x.shape, dtype=x.dtype)(x)
    array([0., 0., 2.])
    """
    return plan_activation("relu", "relu", x_shape, dtype, implementation=implementation)


def relu6(x: npt.ArrayLike, out: Array | None = None, *, implementation: str = "auto") -> Array:
    """min(max(x, 0), 6), element by element; a NaN stays a NaN.

    Parameters
    ----------
    x : array
        Of any shape.
    out : array, optional
        Where to write the result; it may be `x` itself.
    implementation : str
        "auto", or a name from ``implementations("relu6")``.

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
    >>> fc.relu6(np.array([-1.0, 2.0, 8.0]))
    array([0., 2., 6.])
    """
    x = array("x", x)
    result: Array = plan_relu6(x.shape, implementation=implementation, dtype=x.dtype)(x, out)
    return result


def plan_relu6(x_shape: Sequence[int], *, implementation: str = "auto", dtype: npt.DTypeLike | None = None) -> ElementwisePlan:
    """Plan a `relu6` for arrays of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the arrays to come.
    implementation : str
        As in `relu6`.
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
    >>> x = np.array([-1.0, 2.0, 8.0])
    >>> fc.plan_relu6(x.shape, dtype=x.dtype)(x)
    array([0., 2., 6.])
    """
    return plan_activation("relu6", "relu6", x_shape, dtype, implementation=implementation)


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


def clip(x: npt.ArrayLike, low: float, high: float, out: Array | None = None, *, implementation: str = "auto") -> Array:
    """min(max(x, low), high), element by element; a NaN stays a NaN.

    Parameters
    ----------
    x : array
        Of any shape.
    low, high : float
        The bounds, low <= high.
    out : array, optional
        Where to write the result; it may be `x` itself.
    implementation : str
        "auto", or a name from ``implementations("clip")``.

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
    >>> fc.clip(np.array([-2.0, 0.5, 2.0]), -1, 1)
    array([-1. ,  0.5,  1. ])
    """
    x = array("x", x)
    result: Array = plan_clip(x.shape, low, high, implementation=implementation, dtype=x.dtype)(x, out)
    return result


def plan_clip(
    x_shape: Sequence[int], low: float, high: float, *, implementation: str = "auto", dtype: npt.DTypeLike | None = None
) -> ElementwisePlan:
    """Plan a `clip` for arrays of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the arrays to come.
    low, high : float
        The bounds, low <= high.
    implementation : str
        As in `clip`.
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
    >>> x = np.array([-2.0, 0.5, 2.0])
    >>> fc.plan_clip(x.shape, -1, 1, dtype=x.dtype)(x)
    array([-1. ,  0.5,  1. ])
    """
    return plan_activation("clip", ("clip", low, high), x_shape, dtype, implementation=implementation)
