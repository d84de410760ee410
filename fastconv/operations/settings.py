"""What there is to choose from, why one was chosen, threads, and what is kept from call to call."""

from collections.abc import Sequence
from typing import Any

from fastconv.kernels import keeping, threads
from fastconv.operations.operation import Operation
from fastconv.plans import dispatch
from fastconv.problem import arguments as check


def implementations(operation: str) -> list[str]:
    """The names of an operation's implementations, best first.

    Parameters
    ----------
    operation : str
        A public operation's name, such as "conv2d" or "max_pool1d"; ``fc.conv2d.implementations`` is the same.

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


def named(operation: Any) -> Operation:
    """The operation of a name such as "conv2d" or "max_pool1d"."""
    if not isinstance(operation, str):
        raise TypeError(f"operation must be a string, got {operation!r}")
    import fastconv

    found = getattr(fastconv, operation, None) or getattr(fastconv.grad, operation, None)
    if not isinstance(found, Operation):
        known = [name for name in fastconv.__all__ if isinstance(getattr(fastconv, name), Operation)]
        raise ValueError(f"operation must be one of {', '.join([*known, *fastconv.grad.__all__])}, got {operation!r}")
    return found


def explain(operation: str, x_shape: Sequence[int], *arguments: Any, **options: Any) -> str:
    """Which implementation "auto" takes for a plan, and for each of the others why not: one line a candidate.

    A function takes the same one, but where packing many weights for one call would take long: its line then says so.
    Shapes decide, but for filters of one channel: those that are few columns times rows go to "separable", which a plan sees.

    Parameters
    ----------
    operation : str
        A public operation's name, such as "conv2d" or "max_pool1d"; ``fc.conv2d.explain`` is the same without it.
    x_shape : sequence of int
        Shape of the input.
    *arguments, **options
        The operation's other arguments, without `out`, as it takes them, of weights the shape; `x_dtype` is float32 by
        default.

    Returns
    -------
    str
        Lines to print.

    Raises
    ------
    ValueError, TypeError
        As the operation itself would raise.

    Examples
    --------
    >>> import fastconv as fc
    >>> print(fc.explain("relu", (8, 8)).splitlines()[0].split(":")[0])
    implementation 'direct' is chosen
    """
    return named(operation).explain(x_shape, *arguments, **options)


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


def get_cache_bytes() -> int:
    """The bytes that plans and what they are made of, which are kept from call to call, may take.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.get_cache_bytes() >> 20
    64
    """
    return keeping.BUDGET.limit


def set_cache_bytes(n: int) -> None:
    """Set how many bytes all that is kept from call to call may take: sizes and decisions, so that equal calls plan once.

    Plans that were not asked for lately go first. Packed weights are never kept, and compiled kernels always.

    Parameters
    ----------
    n : int
        At least 0, which keeps next to nothing.

    Raises
    ------
    TypeError, ValueError
        If `n` is no int, or below 0.

    Examples
    --------
    >>> import fastconv as fc
    >>> before = fc.get_cache_bytes()
    >>> fc.set_cache_bytes(1 << 20)
    >>> fc.get_cache_bytes()
    1048576
    >>> fc.set_cache_bytes(before)
    """
    keeping.set_limit(check.integer("n", n, 0))


def clear_caches() -> None:
    """Drop all that is kept from call to call, but compiled kernels.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.clear_caches()
    """
    keeping.forget()
