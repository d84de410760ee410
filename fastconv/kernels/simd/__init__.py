"""The SIMD engine: vectors and register tiles as Numba values, and kernels written on them in plain compiled Python.

conv, depthwise, pool   the loop nests
  -> microkernel        one register tile from start to end
  -> packing            weights and windows laid out for it
    -> vector           pointers, vectors, tiles: the one file that speaks LLVM
"""
