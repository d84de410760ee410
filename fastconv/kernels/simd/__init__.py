"""The SIMD engine: vectors and register tiles as Numba values, and kernels written on them in plain compiled Python.

direct depthwise winograd strassen fourier filters pools arrays     a family a folder; no family imports another
  -> engine                                                         walks, operands laid out, register tiles, tables, costs
    -> vector                                                       pointers, vectors, tiles: the one package that speaks LLVM
"""
