"""Register tiles by machine, and what addresses an L1 cache holds.

Of each kernel the accumulators, the vectors of one step of its reduction and a broadcast value must fit the vector registers.
"""

from typing import NamedTuple

from fastconv.kernels.memory import LINE
from fastconv.machine import Machine

CONFLICT = 4096  # bytes apart, addresses fall into the same set of an L1 cache
ADDRESSES = 10  # of a tile's rows that general registers keep, of 16
MANY = 1 << 12  # products of a sum beside which those are nothing
WAYS = 7  # rows of a tile beyond which it takes longer where their addresses fall into one set of an L1 cache


class Tile(NamedTuple):
    """A register tile of rows x columns, of which rows or columns are vectors: each kernel says what they hold."""

    rows: int
    columns: int


class Tiles(NamedTuple):
    """The register tiles of a machine, for each kernel those to choose from.

    Attributes
    ----------
    conv : tuple of Tile
        Output positions x vectors of output channels.
    conv_pixels : tuple of Tile
        More of them, for windows of one pixel with its channels.
    conv_few : tuple of Tile
        More of them, for as few positions as they have rows.
    conv_halves : tuple of Tile
        More of them, of vectors that are halves of the widest.
    ways : int
        Rows of a tile whose addresses may fall into one set of an L1 cache: more, and they are copied.
    held : int
        Vector registers for an operand that stays in them and the sums, beside values of the other operand.
    planar : tuple of Tile
        Output channels x vectors of an output row.
    planar_stacked : tuple of Tile
        The same for one output channel: output rows x vectors.
    pointwise : tuple of Tile
        Output channels x vectors of positions.
    pointwise_rest : tuple of Tile
        Output channels x positions that whole panels leave over: for one of these, and for more.
    streams : tuple of Tile
        The same where sums come and go.
    unpacked : tuple of Tile
        Positions x output channels, each with a vector of partial sums.
    scattered : tuple of Tile
        Positions x vectors of weights of an input channel.
    depthwise_large : tuple of Tile
        Output rows x vectors of long rows: for kernels of 3x3, and for others.
    depthwise_rows, depthwise_vectors : int
        The most rows of other tiles, and the most vectors of a large one.
    depthwise_channels : int
        The most that lie together in a row of few channels last.
    filter_vectors : int
        The most vectors of a row in a tile of filters whose channels share their weights.
    winograd_rows : tuple of Tile
        Rows of images x vectors.
    strassen : tuple of Tile
        Positions x vectors of output channels.
    strassen_channels, strassen_positions, strassen_doubled : tuple of Tile
        Of kernels of one tap, channels first: output channels x vectors of positions by either, or by two taps.
    gradient : tuple of Tile
        Of gradients by the weights: output channels x vectors of input channels.
    pool_large : tuple of Tile
        Output rows x vectors of long rows: for windows up to 3x3, and for others.
    pool_rows : int
        The most output rows of a tile.
    """

    conv: tuple[Tile, ...]
    conv_pixels: tuple[Tile, ...]
    conv_few: tuple[Tile, ...]
    conv_halves: tuple[Tile, ...]
    ways: int
    held: int
    planar: tuple[Tile, ...]
    planar_stacked: tuple[Tile, ...]
    pointwise: tuple[Tile, ...]
    pointwise_rest: tuple[Tile, Tile]
    streams: tuple[Tile, ...]
    unpacked: tuple[Tile, ...]
    scattered: tuple[Tile, ...]
    depthwise_large: tuple[Tile, ...]
    depthwise_rows: int
    depthwise_vectors: int
    depthwise_channels: int
    filter_vectors: int
    winograd_rows: tuple[Tile, ...]
    strassen: tuple[Tile, ...]
    strassen_channels: tuple[Tile, ...]
    strassen_positions: tuple[Tile, ...]
    strassen_doubled: tuple[Tile, ...]
    gradient: tuple[Tile, ...]
    pool_large: tuple[Tile, ...]
    pool_rows: int


def tiles(*shapes: tuple[int, int]) -> tuple[Tile, ...]:
    """Tiles of these shapes."""
    return tuple(Tile(*shape) for shape in shapes)


OF_32_REGISTERS = Tiles(
    conv=tiles((14, 2), (8, 3), (7, 3), (8, 2), (14, 1), (8, 1)),
    conv_pixels=tiles((6, 4)),
    conv_few=tiles((4, 6)),
    conv_halves=tiles((5, 5)),
    ways=WAYS,
    held=31,
    planar=tiles((8, 3), (8, 2), (4, 4), (4, 2), (8, 1), (4, 1), (2, 4), (1, 8), (1, 4)),
    planar_stacked=tiles((2, 8), (2, 4), (1, 8), (1, 4)),
    pointwise=tiles((8, 3), (12, 2), (6, 4), (4, 6), (2, 8)),
    pointwise_rest=(Tile(8, 1), Tile(4, 4)),
    streams=tiles((4, 4), (3, 4), (2, 8), (1, 8)),
    unpacked=tiles((5, 5), (6, 4), (1, 8)),
    scattered=tiles((8, 2), (8, 1)),
    depthwise_large=tiles((3, 5), (4, 5)),
    depthwise_rows=14,
    depthwise_vectors=20,
    depthwise_channels=8,
    filter_vectors=8,
    winograd_rows=tiles((4, 4), (8, 2)),
    strassen=tiles((5, 4), (5, 5), (7, 3), (14, 2)),
    strassen_channels=tiles((5, 4), (5, 5), (7, 3), (14, 2)),
    strassen_positions=tiles((8, 3)),
    strassen_doubled=tiles((8, 3)),
    gradient=tiles((8, 3), (6, 4), (14, 2), (4, 6), (8, 2), (14, 1), (4, 3)),
    pool_large=tiles((3, 5), (4, 4)),
    pool_rows=14,
)
OF_16_REGISTERS = Tiles(
    conv=tiles((6, 2), (4, 3), (7, 1)),
    conv_pixels=(),
    conv_few=(),
    conv_halves=(),
    ways=5,
    held=14,
    planar=tiles((4, 2), (6, 1), (2, 4), (2, 2), (1, 8), (1, 4)),
    planar_stacked=tiles((2, 4), (2, 2), (1, 8), (1, 4)),
    pointwise=tiles((4, 3), (6, 2), (2, 4)),
    pointwise_rest=(Tile(6, 1), Tile(4, 3)),
    streams=tiles((4, 3), (5, 2), (3, 3), (2, 4), (1, 8)),
    unpacked=tiles((3, 4), (4, 3), (1, 8)),
    scattered=tiles((6, 2), (8, 1)),
    depthwise_large=tiles((3, 3), (3, 3)),
    depthwise_rows=8,
    depthwise_vectors=9,
    depthwise_channels=4,
    filter_vectors=8,
    winograd_rows=tiles((3, 4), (4, 2)),
    strassen=tiles((6, 2), (4, 3)),
    strassen_channels=tiles((6, 2)),
    strassen_positions=tiles((6, 2)),
    strassen_doubled=tiles((6, 2)),
    gradient=tiles((6, 2), (4, 3), (8, 1), (2, 4)),
    pool_large=tiles((3, 3), (4, 2)),
    pool_rows=7,
)
# As many registers, of 4 lanes. Compilers for some processors read all vectors of a step ahead of its multiply-adds: room for
# those, and for several broadcast values, keeps accumulators off the stack.
OF_NEON = OF_32_REGISTERS._replace(
    conv=tiles((12, 2), (8, 3), (7, 3), (8, 2), (14, 1)),
    conv_few=(),
    conv_halves=(),
    held=26,
    strassen=tiles((5, 4), (7, 3), (12, 2)),
    strassen_channels=tiles((5, 4), (7, 3), (12, 2)),
    gradient=tiles((8, 3), (6, 4), (12, 2), (4, 6), (8, 2), (14, 1), (4, 3)),
)
TILES = {"avx512": OF_32_REGISTERS, "neon": OF_NEON, "avx2": OF_16_REGISTERS, "sse2": OF_16_REGISTERS}


def step_cycles(tile: Tile, machine: Machine) -> float:
    """Of a step of a tile's sums: its products, or its loads, among them addresses that registers have no room for."""
    rows, columns = tile
    kept = rows if machine.isa == "neon" else ADDRESSES
    return max(rows * columns / machine.units, (rows + columns + 1 + 2 * max(0, rows - kept)) / 2)


def end_cycles(tile: Tile) -> float:
    """Of a tile beside its sums, the more the more rows it has: their addresses, and their stores."""
    return 40 + 4.5 * tile.rows


def tile_for(positions: int, vectors: int, machine: Machine, crowded: float = 0.0, products: int = MANY) -> Tile:
    """The tile that takes the fewest cycles over `positions` positions and `vectors` vectors of channels.

    With `crowded`, from `crowding`, there are more tiles to choose from, and those of more than WAYS rows take longer. Sums are
    of so many products.
    """

    def cycles(tile: Tile) -> float:
        count = -(-positions // tile.rows) * -(-vectors // tile.columns)
        each = step_cycles(tile, machine) * (crowded if crowded and tile.rows > WAYS else 1.0)
        return count * (each * products + end_cycles(tile))

    of_machine = TILES[machine.isa]
    few = tuple(tile for tile in of_machine.conv_few if positions <= tile.rows)
    halves = of_machine.conv_halves if machine.vector_bytes < LINE else ()
    return min(of_machine.conv + few + halves + (of_machine.conv_pixels if crowded else ()), key=cycles)
