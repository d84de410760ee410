"""The operations that have a vjp by name, and how a call of one is split into arrays and options, for doors to frameworks."""

from typing import Any

from fastconv.operations.operation import Operation

ALONE = (
    "relu",
    "relu6",
    "leaky_relu",
    "silu",
    "hardswish",
    "gelu",
    "clip",
    "unfold",
    "fold",
    "global_avg_pool",
    "global_max_pool",
)
POOLS = ("max_pool", "min_pool", "rank_pool", "median_pool", "avg_pool", "lp_pool", "adaptive_avg_pool", "adaptive_max_pool")
RANKED = ("conv", "conv_transpose", *POOLS)
NAMES = (*ALONE, *(f"{name}{rank}d" for name in RANKED for rank in (1, 2, 3)))  # of one result and arrays of floats alone
ARRAYS = ("x", "w", "bias", "residual")


def split(
    operation: Operation, door: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[str, ...], tuple[Any, ...], dict[str, Any]]:
    """(names of the arrays, arrays, other arguments) of a call; a door has neither `out` nor indices beside values."""
    given = operation.arguments(arguments, options)
    for refused in ("out", "return_indices"):
        value = given.pop(refused, None)
        if value is not None and value is not False:
            raise TypeError(f"{operation.name}() takes no {refused} in {door}")
    names = tuple(key for key in ARRAYS if given.get(key) is not None)
    return names, tuple(given.pop(key) for key in names), {key: value for key, value in given.items() if value is not None}
