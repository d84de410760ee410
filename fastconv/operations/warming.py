"""Compiling ahead: small calls of everything, so that their kernels lie in the disk cache."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.kernels import threads
from fastconv.plans import dispatch
from fastconv.problem import arguments as check

Call = Callable[..., Any]


def warmup(dtypes: Sequence[npt.DTypeLike] = (np.float32, np.float64)) -> int:
    """Compile ahead what usual calls on arrays of these dtypes need, into the disk cache.

    Shapes matter little: a kernel is compiled once for a dtype and the shape of its register tile, and the usual tiles are
    compiled here. It takes a minute or two where nothing is compiled yet.

    Parameters
    ----------
    dtypes : sequence of dtype
        Types to compile for.

    Returns
    -------
    int
        How many calls were made.

    Raises
    ------
    TypeError
        If a dtype is not supported.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.warmup([]) == 0
    True
    """
    return sum(made(call) for _, call in planned(dtypes))


def planned(dtypes: Sequence[npt.DTypeLike] = (np.float32, np.float64)) -> list[tuple[str, Call]]:
    """(what it is, call) of all that is compiled ahead, for each implementation but the reference."""
    return [
        (f"{operation} by {one.name}, {dtype}", partial(call, implementation=one.name))
        for dtype in [check.dtype("dtypes", dtype) for dtype in dtypes]
        for operation, call in small_calls(dtype)
        for one in dispatch.candidates(operation)
        if one.name != "reference"
    ]


def made(call: Call) -> int:
    """How often a call was made, on one thread and on all; never where the implementation cannot serve it."""
    most = threads.count()
    counts = sorted({1, most})
    try:
        for n in counts:
            threads.set_count(n)
            call()
    except (ValueError, TypeError):
        return 0
    finally:
        threads.set_count(most)
    return len(counts)


@lru_cache(maxsize=1)
def usual() -> list[tuple[str, Call]]:
    """What is compiled ahead for usual dtypes: the same list in every process."""
    return planned()


def made_at(place: int) -> int:
    """How often the call at a place of the usual ones was made."""
    return made(usual()[place][1])


def made_by(processes: int, places: Sequence[int]) -> Iterator[int]:
    """How often each of the usual calls at these places was made, in order, by some processes, which share the disk cache.

    Of those that need the same kernel one compiles it, and the others wait for its file.
    """
    if min(processes, len(places)) < 2:
        yield from map(made_at, places)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(min(processes, len(places)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(made_at, places)


def small_calls(dtype: np.dtype[Any]) -> Iterator[tuple[str, Call]]:
    """(operation, call that wants its implementation) with work enough for several threads."""
    import fastconv as api

    for layout, shape, kernels, groups in (
        ("NCHW", (1, 32, 32, 32), (64, 32, 3, 3), 1),
        ("NHWC", (1, 32, 32, 32), (64, 3, 3, 32), 1),
        ("NCHW", (1, 256, 7, 7), (64, 256, 3, 3), 1),
        ("NHWC", (1, 7, 7, 256), (64, 3, 3, 256), 1),
        ("NCHW", (1, 64, 64, 64), (64, 1, 3, 3), 64),
        ("NHWC", (1, 64, 64, 64), (64, 3, 3, 1), 64),
    ):
        x, w = np.ones(shape, dtype), np.ones(kernels, dtype)
        yield "conv2d", partial(api.conv2d, x, w, padding=1, groups=groups, layout=layout)
    x = np.ones((1, 32, 128, 128), dtype)
    yield "conv_transpose2d", partial(api.conv_transpose2d, x[..., :32, :32], np.ones((32, 32, 2, 2), dtype), stride=2)
    for operation in ("max_pool2d", "min_pool2d", "avg_pool2d"):
        yield operation, partial(getattr(api, operation), x, 2)
    if dtype.kind == "f":
        yield "lp_pool2d", partial(api.lp_pool2d, x, 2.0, 2)
    if dtype.kind != "c":
        values = x[..., :64, :64]
        yield "max_unpool2d", partial(api.max_unpool2d, values, np.zeros(values.shape, np.int64), 2)
        yield "relu", partial(api.relu, x)
    columns = np.ones((1, 128, 4096), dtype)
    yield "unfold", partial(api.unfold, x, 2, stride=2)
    yield "fold", partial(api.fold, columns, (128, 128), 2, stride=2)
