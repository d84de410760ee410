"""The largest, the smallest and the mean of windows of arrays of any number of axes, at a cost that hardly grows with the window."""
