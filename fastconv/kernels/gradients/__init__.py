"""Gradients without vectors of their own: reference loops, NumPy with BLAS, and loops that Numba compiles."""
