"""Activations that are clips, on their own: relu, relu6, clip."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.operations.types import Array
from fastconv.plans.plan import ElementwisePlan
from fastconv.plans.planning import plan_activation
from fastconv.problem.arguments import array


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
