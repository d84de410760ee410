"""The largest, the smallest and the mean of windows over arrays of any number of axes: cost hardly grows with the window."""
