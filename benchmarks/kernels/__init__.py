"""Families of kernels."""
