"""How kernels are compiled: Numba's way, without what no kernel has, and each function once."""
