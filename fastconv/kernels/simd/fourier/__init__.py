"""Fourier transforms of overlapping blocks."""
