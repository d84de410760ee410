"""The cell of a given rank of windows of arrays of any number of axes."""
