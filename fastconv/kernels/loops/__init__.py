"""The reference's loops compiled by Numba, parallel over outputs that do not depend on each other.

Arrays are flat and reached by strides, so that both layouts and 1 to 3 axes are one compiled signature a dtype: geometries are
lifted to three axes, and strides are five, in elements, in the order n, c, d, h, w.
"""
