"""Memory formats of maps, tensors with four or five axes, on the way into a model and out of it."""

from collections.abc import Callable
from typing import Any

import torch

from fastconv.torch.layers import FORMATS


def is_map(x: Any) -> bool:
    """Whether a value is a tensor that has memory formats."""
    return isinstance(x, torch.Tensor) and x.ndim in (4, 5) and x.layout is torch.strided


def formed(x: Any, memory_format: torch.memory_format) -> Any:
    """A map in channels_last order, or contiguous; all else as it is."""
    if not is_map(x):
        return x
    return x.contiguous(memory_format=FORMATS[x.ndim - 2]) if memory_format is torch.channels_last else x.contiguous()


def computed_in(
    memory_format: torch.memory_format, run: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> Any:
    """What a function gives for maps in one format, each map of the result in the format of the first that came."""
    if not named and len(arguments) == 1 and is_map(arguments[0]):  # without a walk through trees of arguments
        (first,) = arguments
        result = run(formed(first, memory_format))
    else:
        leaves, tree = torch.utils._pytree.tree_flatten((arguments, named))
        first = next(filter(is_map, leaves), None)
        if first is None:
            return run(*arguments, **named)
        arguments, named = torch.utils._pytree.tree_unflatten([formed(one, memory_format) for one in leaves], tree)
        result = run(*arguments, **named)
    back = torch.contiguous_format if first.is_contiguous() else torch.channels_last
    return (
        formed(result, back)
        if isinstance(result, torch.Tensor)
        else torch.utils._pytree.tree_map(lambda y: formed(y, back), result)
    )
