"""What the cells around an input hold: a mode, and a value where the mode is a constant.

============ ==================== ====================================
mode         around a b c d       the cell at position p of L cells
============ ==================== ====================================
zeros        0 0 | a b c d | 0 0  none: a zero
constant     v v | a b c d | v v  none: the value
reflect      c b | a b c d | c b  p over a period of 2 (L - 1)
symmetric    b a | a b c d | d c  p over a period of 2 L
replicate    a a | a b c d | d d  p clipped to 0 .. L - 1
circular     c d | a b c d | a b  p modulo L
============ ==================== ====================================
"""

from typing import Any, NamedTuple

PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric", "constant")
ZERO_FILL, REFLECT, REPLICATE, CIRCULAR, SYMMETRIC, CONSTANT = range(len(PADDING_MODES))


class Border(NamedTuple):
    """A mode, and what cells of the mode "constant" hold.

    Attributes
    ----------
    mode : str
        One of PADDING_MODES.
    value : int, float or complex
        Zero in every other mode.
    """

    mode: str = "zeros"
    value: Any = 0

    @property
    def code(self) -> int:
        """The mode as kernels take it."""
        return PADDING_MODES.index(self.mode)


ZEROS = Border()


def source_cell(position: int, size: int, mode: int) -> int:
    """The input cell that an unpadded coordinate reads, or -1 for what no cell holds; `mode` indexes PADDING_MODES."""
    if 0 <= position < size:
        return position
    if mode in (0, 5) or size == 0:
        return -1
    if mode == 2:
        return 0 if position < 0 else size - 1
    if mode == 3:
        return position % size
    period = max(1, 2 * size - 2) if mode == 1 else 2 * size
    cell = position % period
    return cell if cell < size else (period if mode == 1 else period - 1) - cell


def centred(kernel: int, origin: int = 0) -> tuple[int, int]:
    """The padding (before, after) of a window whose middle tap, moved by `origin`, lies over each output: as many as cells."""
    return kernel // 2 + origin, (kernel - 1) // 2 - origin
