"""dask arrays: fastconv's functions on them give dask arrays, which compute nothing until they are asked to.

    y = fc.conv2d(x, w, padding=1)              x, w: dask arrays, or one of them
    y = fc.ndimage.gaussian_filter(x, 2)
    y = fc.signal.fftconvolve(x, w, "same")

A block of the result is one task: it reads the cells that its windows reach, from as many blocks of the input as these lie in,
and runs the very function on them. Blocks may be of any sizes, smaller than a window too. Sizes, dtype and errors are known at
once. No task computes what a neighbour's does but for the cells that filters of several passes need around a block.

============================== ===========================================================================================
blocks of a convolution        are cut along the batch and the spatial axes; channels are put together; weights go to all
of a pool                      along all axes
of adaptive and global pools   along all axes; windows of many blocks are reduced block by block
of unfold and fold             along the batch, the channels and the windows of the first axis
of max_unpool                  along the batch and the channels: an index may name any cell of its plane
of ndimage's functions         along all axes
of signal's functions          along all axes of the first array; the second one goes to all tasks
============================== ===========================================================================================

Values are those of the whole array, bit for bit where the implementation is the same: "auto" may choose another one for a block
than for the whole, which ``implementation=`` settles, and signal.convolve's ``method=``. Where a
block begins may decide the order of a window's sum, within its error bound: in running means (uniform_filter and avg_pool of
floats) and in Fourier transforms. Means that are reduced block by block are summed in float64.

A task runs on one thread, since dask runs as many tasks as there are cores; ``dask.config.set({"fastconv.num-threads": n})``
while the graph is made sets another number. Weights and footprints that are not dask arrays become part of the graph once.
"""

from typing import Any

from fastconv.dask import filters, maps, reductions, signals, windows
from fastconv.operations.operation import Operation
from fastconv.served import NotServed

__all__ = ["served"]

OPERATIONS = {
    "conv": maps.convolution,
    "conv_transpose": maps.convolution,
    **dict.fromkeys(("max_pool", "min_pool", "avg_pool", "lp_pool", "rank_pool", "median_pool"), maps.pool),
    **dict.fromkeys(("adaptive_max_pool", "adaptive_avg_pool"), reductions.adaptive_pool),
    **dict.fromkeys(("global_max_pool", "global_avg_pool"), reductions.global_pool),
    **dict.fromkeys(("relu", "relu6", "clip", "leaky_relu", "silu", "hardswish", "gelu"), windows.activation),
    "unfold": windows.unfold,
    "fold": windows.fold,
    "max_unpool": windows.max_unpool,
}


def served(function: Any, arguments: dict[str, Any]) -> Any:
    """The lazy result of one of fastconv's functions.

    Parameters
    ----------
    function : Operation or function
        Of `fastconv`, `fastconv.ndimage` or `fastconv.signal`.
    arguments : dict
        By name, as the caller gave them; one or more are dask arrays.

    Returns
    -------
    dask array, or a pair of them
        As the function's own result.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As the function does, and for what cannot be computed block by block.

    Examples
    --------
    >>> import fastconv as fc
    >>> da = __import__("pytest").importorskip("dask.array", reason="dask is not installed")
    >>> x = da.ones((1, 1, 6, 6), chunks=(1, 1, 4, 4))
    >>> y = fc.conv2d(x, da.ones((1, 1, 3, 3)), padding="same")
    >>> y.chunks[2:]
    ((4, 2), (4, 2))
    >>> y.compute()[0, 0, 2]
    array([6., 9., 9., 9., 9., 6.])
    """
    if isinstance(function, Operation):
        family = function.name[:-2] if function.name[-2:] in ("1d", "2d", "3d") else function.name
        build = OPERATIONS.get(family)
        if build is None:
            raise NotServed(f"fastconv.{function.name} takes no dask array: compute it first, x.compute()")
        return build(function, arguments)
    room = function.__module__.split(".")[1]
    return {"ndimage": filters, "signal": signals}[room].served(function, arguments)
