"""Comparisons, timings, rivals and reports; what only measuring needs."""
