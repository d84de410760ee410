"""Filters over arrays of any number of axes as loops and as sliding windows: what the fast kernels are tested against."""
