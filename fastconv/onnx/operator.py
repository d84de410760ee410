"""What operators share: their domain, and ONNX's attributes as fastconv's arguments."""

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

Array = np.ndarray[Any, Any]
Pairs = tuple[tuple[int, int], ...]
AUTO = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}


def rank_of(name: str, x: Array) -> int:
    """The number of spatial axes, of which there are one to three."""
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"{name} must have a batch, a channel and 1 to 3 spatial axes, got shape {x.shape}")
    return x.ndim - 2


def padding_of(auto_pad: str | None, pads: Any, rank: int) -> str | Pairs:
    """ONNX's two attributes as one argument."""
    if auto_pad in (None, "", "NOTSET"):
        return pairs_of(pads, rank)
    if auto_pad not in AUTO:
        raise ValueError(f"auto_pad must be NOTSET or one of {', '.join(AUTO)}, got {auto_pad!r}")
    return AUTO[str(auto_pad)]


def pairs_of(pads: Any, rank: int) -> Pairs:
    """All that is added before the axes and then all behind them, as pairs."""
    cells = [0] * 2 * rank if pads is None or len(pads) == 0 else [int(one) for one in pads]
    if len(cells) != 2 * rank:
        raise ValueError(f"pads must have {2 * rank} entries, the begins of {rank} axes and then the ends, got {cells}")
    return tuple(zip(cells[:rank], cells[rank:], strict=True))


def ones(value: Any, rank: int) -> tuple[int, ...]:
    """A step along each axis: 1 where there is no attribute."""
    return (1,) * rank if value is None or len(value) == 0 else tuple(int(one) for one in value)


def widened(*arrays: Any) -> tuple[Any, ...]:
    """Arrays of bfloat16 in float32; others as they are."""
    return tuple(one.astype(np.float32) if one is not None and one.dtype.name == "bfloat16" else one for one in arrays)


def check_kernel(kernel_shape: Any, w: Array) -> None:
    """The attribute says what the weights say."""
    if kernel_shape is not None and len(kernel_shape) and tuple(kernel_shape) != w.shape[2:]:
        raise ValueError(f"kernel_shape must be {w.shape[2:]}, as W has it, got {tuple(kernel_shape)}")


class Operator(OpRun):  # type: ignore[misc]
    """What the operators share: the domain."""

    op_domain = ""
