"""The SIMD engine: vectors and register tiles as Numba values, and kernels written on them in plain compiled Python.

conv, planar, depthwise, interleaved, separable,
winograd, strassen, fft, pool, unpool, columns the loop nests
  -> microkernel                               one register tile from start to end
  -> packing, transforms, spectra, butterflies weights and windows laid out for it, or transformed
    -> vector                                  pointers, vectors, tiles: the one package that speaks LLVM
"""
