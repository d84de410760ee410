"""SciPy's image filters, by SciPy's names, on fastconv's kernels."""
