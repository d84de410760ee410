"""What there is to choose from, why one was chosen, and threads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.kernels import threads
from fastconv.machine import host
from fastconv.plans import dispatch
from fastconv.problem import arguments as check


def implementations(operation: str) -> list[str]:
    """The names of an operation's implementations, best first.

    Parameters
    ----------
    operation : str
        A public function's name, such as "conv2d" or "max_pool1d".

    Raises
    ------
    ValueError, TypeError
        If there is no such operation; the message lists those there are.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.implementations("conv2d")[-1]
    'reference'
    """
    return [one.name for one in dispatch.candidates(operation)]


def explain(
    operation: str,
    x_shape: Sequence[int],
    w_shape: Sequence[int] | None = None,
    *arguments: Any,
    dtype: npt.DTypeLike = np.float32,
    **options: Any,
) -> str:
    """Which implementation "auto" takes for a plan, and for each of the others why not: one line a candidate.

    A function takes the same one, but where packing many weights for one call would take long: its line then says so.
    Shapes decide, but for filters of one channel: those that are few columns times rows go to "separable", which a plan sees.

    Parameters
    ----------
    operation : str
        A public function's name, such as "conv2d" or "max_pool1d".
    x_shape, w_shape : sequence of int
        Shapes of the input and, for convolutions, of the weights.
    *arguments, **options
        The function's other arguments, without `out`, as it takes them.
    dtype : dtype
        Of input and weights.

    Returns
    -------
    str
        Lines to print.

    Raises
    ------
    ValueError, TypeError
        As the function itself would raise.

    Examples
    --------
    >>> import fastconv as fc
    >>> print(fc.explain("relu", (8, 8)).splitlines()[0].split(":")[0])
    implementation 'direct' is chosen
    """
    from fastconv import operations as api

    dispatch.family_of(operation)
    planner = getattr(api, f"plan_{operation}", None)
    if planner is None:
        raise ValueError(f"operation must be a public function's name, such as 'conv2d' or 'max_pool2d', got {operation!r}")
    options.setdefault("dtype", check.dtype("dtype", dtype))
    if operation.startswith("conv"):
        if w_shape is None:
            raise TypeError(f"w_shape must be the shape of the weights of {operation}, got None")
        # Decisions read no weights: a view that repeats one zero has the shape and takes no memory.
        weights = np.broadcast_to(np.zeros((), dtype), check.shape("w_shape", w_shape))
        plan = planner(x_shape, weights, *arguments, **options)
    else:
        if w_shape is not None:
            arguments = (w_shape, *arguments)
        plan = planner(x_shape, *arguments, **options)
    return "\n".join(dispatch.explanation(operation, plan.geometry, plan.compute_dtype, host()))


def get_num_threads() -> int:
    """The number of threads that a call may use.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.get_num_threads() >= 1
    True
    """
    return threads.count()


def set_num_threads(n: int) -> None:
    """Set the number of threads that calls from any Python thread may use from now on.

    Results are the same bits for every number. BLAS, which "im2col" and "strided" call, has a setting of its own.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If `n` is no int, or below 1.

    Examples
    --------
    >>> import fastconv as fc
    >>> before = fc.get_num_threads()
    >>> fc.set_num_threads(1)
    >>> fc.get_num_threads()
    1
    >>> fc.set_num_threads(before)
    """
    threads.set_count(check.integer("n", n, 1))
