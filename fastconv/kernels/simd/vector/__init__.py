"""Pointers, vectors and register tiles as Numba values: the one package that speaks LLVM.

A kernel is then plain compiled Python. `lanes`, `rows` and `columns` must be compile-time constants: ints that the kernel's
factory closed over. Loads and stores need no alignment. Nothing here checks bounds: callers prove them.

    ============ ==========================================================================
    Pointer      the address of an element; p + n lies n elements further
    Vector       `lanes` elements in one register
    Rows         the addresses of `rows` elements: one for each row of a tile
    Tile         rows x columns vectors, each in a register of its own
    ============ ==========================================================================
"""

from fastconv.kernels.simd.vector.activations import clip, hardswish, leaky, silu
from fastconv.kernels.simd.vector.arithmetic import (
    above,
    as_real,
    as_whole,
    below,
    both,
    chosen,
    divided,
    every_other,
    every_second,
    first,
    first_are_set,
    high_half,
    larger,
    larger_first,
    low_half,
    numbered,
    numbers,
    scaled,
    smaller,
    smaller_first,
    splat,
)
from fastconv.kernels.simd.vector.building import rest_of
from fastconv.kernels.simd.vector.memory import load, load_first, load_first_or, prefetch, store, store_first, store_first_wide
from fastconv.kernels.simd.vector.norms import power, root
from fastconv.kernels.simd.vector.pointers import distance, line_start, peek, pointer, poke, rows_at
from fastconv.kernels.simd.vector.products import fma_grouped, fma_inside, fma_lanes, fma_outer, fma_plane, fma_row, fma_shared
from fastconv.kernels.simd.vector.tiles import (
    filled,
    first_values,
    load_first_rows,
    load_tile,
    load_transposed,
    repeated,
    store_first_rows,
    store_rows,
    store_spans,
    store_spans_wide,
    store_tile,
    store_transposed,
    store_woven,
    zeros,
)
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I1, I8, I32, I64, INTEGERS, Pointer, Rows, Tile, Vector
from fastconv.kernels.simd.vector.windows import divided_rows, joined, placed_windows, reduced_inside, reduced_windows

__all__ = [
    "BYTES",
    "ELEMENTS",
    "I1",
    "I8",
    "I32",
    "I64",
    "INTEGERS",
    "Pointer",
    "Rows",
    "Tile",
    "Vector",
    "above",
    "as_real",
    "as_whole",
    "below",
    "both",
    "chosen",
    "clip",
    "distance",
    "divided",
    "divided_rows",
    "every_other",
    "every_second",
    "filled",
    "first",
    "first_are_set",
    "first_values",
    "fma_grouped",
    "fma_inside",
    "fma_lanes",
    "fma_outer",
    "fma_plane",
    "fma_row",
    "fma_shared",
    "hardswish",
    "high_half",
    "joined",
    "larger",
    "larger_first",
    "leaky",
    "line_start",
    "load",
    "load_first",
    "load_first_or",
    "load_first_rows",
    "load_tile",
    "load_transposed",
    "low_half",
    "numbered",
    "numbers",
    "peek",
    "placed_windows",
    "pointer",
    "poke",
    "power",
    "prefetch",
    "reduced_inside",
    "reduced_windows",
    "repeated",
    "rest_of",
    "root",
    "rows_at",
    "scaled",
    "silu",
    "smaller",
    "smaller_first",
    "splat",
    "store",
    "store_first",
    "store_first_rows",
    "store_first_wide",
    "store_rows",
    "store_spans",
    "store_spans_wide",
    "store_tile",
    "store_transposed",
    "store_woven",
    "zeros",
]
