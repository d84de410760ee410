"""What a block of Winograd's tiles asks for while its products are summed: the cells of the next block, and its own outputs.

Transforms read and write a tile's rows of a few cells each, many of them at once, and wait for every line that no cache holds;
products meet none of these lines. So each plane of products asks for a share of them.
"""

from functools import lru_cache
from typing import Any

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.requests import ask_lines
from fastconv.kernels.simd.winograd.blocks import block_of

pointer = vector.pointer


@lru_cache(maxsize=8)
def asker(planes: int, channels_last: bool) -> Any:
    """The compiled ask(x, y, block, part, plane, s): a plane's share of what comes next, rows of all channels, or of one."""

    @compiled
    def ask_share(at, step, images, rows, columns, channels, plane, s):
        """Share `plane` of the rows of some images, which lie `step` apart."""
        of_image = rows if channels_last else rows * channels
        length, total = columns * channels if channels_last else columns, max(0, images * of_image)
        for number in range(plane * total // planes, (plane + 1) * total // planes):
            n, rest = divmod(number, of_image)
            c, row = divmod(rest, rows)
            ask_lines(at + (n * step.n + c * step.c + row * step.h), length, s.of_line)

    def ask(x, y, block, part, plane, s):
        b, _ = block_of((block.number + 1) * s.k_parts, s)  # behind the last one there are no images
        top, left, d = max(b.corner.h, 0), max(b.corner.w, 0), min(max(b.corner.d, 0), s.cells.d - 1)
        rows, columns = min(b.corner.h + b.cells.h, s.cells.h) - top, min(b.corner.w + b.cells.w, s.cells.w) - left
        first = b.n * s.x.n + b.group * s.c_group * s.x.c + d * s.x.d + top * s.x.h + left * s.x.w
        if rows > 0:
            ask_share(pointer(x) + first, s.x, b.images, rows, columns, s.c_group, plane, s)
        channel = block.group * s.k_group + part.k
        first = block.n * s.y.n + channel * s.y.c + block.d * s.y.d + block.output.h * s.y.h + block.output.w * s.y.w
        rows, columns = block.outputs.h, block.outputs.w
        ask_share(pointer(y) + first, s.y, block.images, rows, columns, part.channels, plane, s)

    return compiled(ask)
