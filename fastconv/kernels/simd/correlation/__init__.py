"""Sums of products over windows of arrays of any number of axes."""
