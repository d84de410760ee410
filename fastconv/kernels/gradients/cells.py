"""Blocks of channels that lie side by side, and how their cells are cleared."""

from fastconv.kernels.jit import compiled

TOGETHER = 32  # channels, side by side, of an item at least
SHARES = 8  # items that a call should have for its threads


@compiled
def clear_cells(dx, to, begin, end, together, count):
    """dx[to + cell * together :][:count] = 0 of the cells begin .. end - 1"""
    zero = dx.dtype.type(0)
    if count == together:
        dx[to + begin * together : to + max(begin, end) * together] = zero
        return
    for cell in range(begin, end):
        dx[to + cell * together : to + cell * together + count] = zero


def block_of(together: int, groups: int) -> int:
    """Channels, side by side, of an item: all, or as many as leave each call SHARES of them."""
    block = together
    while block > TOGETHER and groups * -(-together // block) < SHARES:
        block = -(-block // 2)
    return max(1, block)
