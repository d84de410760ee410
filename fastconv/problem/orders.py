"""Windows that leave cells out, and the place of the cell that a rank pool looks for: footprints, ranks and percentiles."""

from typing import Any

from fastconv.problem import arguments as check
from fastconv.problem.convolutions import Size


def pool_window(kernel_size: Any, footprint: Any, rank: int) -> tuple[Size, bytes | None]:
    """(taps of a window, one byte for each of them that is 0 where it is left out, or None where none is).

    A footprint is None, or what check.footprint gives.
    """
    if footprint is None:
        return check.per_axis("kernel_size", kernel_size, rank), None
    shape, mask = footprint
    if len(shape) != rank:
        raise ValueError(f"footprint must have {rank} dimension{'s' * (rank > 1)}, one an axis, got shape {shape}")
    if kernel_size is not None and check.per_axis("kernel_size", kernel_size, rank) != shape:
        raise ValueError(f"kernel_size must be None or the shape of footprint, {shape}, got {kernel_size!r}")
    return shape, mask if 0 in mask else None


def pool_order(order: Any, percentile: Any, count: int) -> int:
    """The place among so many cells: a rank, a percentile, or by default that of the median."""
    if order is not None and percentile is not None:
        raise ValueError(f"rank must be None where percentile is given, got {order!r} and percentile {percentile!r}")
    if percentile is not None:
        share = float(check.real("percentile", percentile))
        if not 0 <= share <= 100:
            raise ValueError(f"percentile must be 0 .. 100, got {percentile!r}")
        return min(count - 1, int(count * share / 100))
    if order is None:
        return count // 2
    found = check.integer("rank", order, -check.LARGEST)
    if not -count <= found < count:
        raise ValueError(f"rank must be {-count} .. {count - 1}, of the {count} cells of a window, got {order!r}")
    return found % count
