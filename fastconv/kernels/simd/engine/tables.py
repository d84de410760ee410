"""Tables with a column a machine: register tiles by the number of vector registers, and what addresses an L1 cache holds."""

from typing import NamedTuple

from fastconv.machine import Machine

CONFLICT = 4096  # bytes apart, addresses fall into the same set of an L1 cache


class Tile(NamedTuple):
    """A register tile: output positions x vectors of output channels."""

    rows: int
    columns: int


# Accumulators, the vectors of one row of weights and a broadcast value must fit the vector registers.
TILES = {32: (Tile(14, 2), Tile(8, 3), Tile(7, 3), Tile(8, 2), Tile(14, 1)), 16: (Tile(6, 2), Tile(4, 3), Tile(7, 1))}


BROAD = {32: (Tile(6, 4),), 16: ()}  # more tiles, for windows of one pixel with its channels


WAYS = 7  # rows of a tile whose addresses may fall into one set of an L1 cache


def tile_for(positions: int, vectors: int, machine: Machine, crowded: float = 0.0) -> Tile:
    """The tile that takes the fewest cycles over `positions` positions and `vectors` vectors of channels.

    With `crowded`, from `crowding`, there are more tiles to choose from, and those of more than WAYS rows take longer.
    """

    def cycles(tile: Tile) -> float:
        tiles = -(-positions // tile.rows) * -(-vectors // tile.columns)
        each = max(tile.rows * tile.columns, tile.rows + tile.columns + 1) / 2
        return tiles * each * (crowded if crowded and tile.rows > WAYS else 1.0)

    return min(TILES[machine.registers] + (BROAD[machine.registers] if crowded else ()), key=cycles)
