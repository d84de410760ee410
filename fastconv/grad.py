"""Gradients by name: of convolutions by the names and argument order of torch.nn.grad, and of pools.

What trains a network calls ``fc.conv2d.vjp`` and its kin, which give a value and a function of gradients; these are for those
who keep the parts themselves. Each is an operation: it is called, plans, explains and lists its implementations.

Examples
--------
>>> import numpy as np
>>> from fastconv import grad
>>> image, dy = np.arange(4.0).reshape(1, 1, 4), np.ones((1, 1, 3))
>>> grad.conv1d_weight(image, (1, 1, 2), dy)
array([[[3., 6.]]])
>>> grad.conv1d_input(image.shape, np.array([[[1.0, 10.0]]]), dy)
array([[[ 1., 11., 11., 10.]]])
"""

from fastconv.operations.gradients import conv1d_input, conv1d_weight, conv2d_input, conv2d_weight, conv3d_input, conv3d_weight
from fastconv.operations.pool_gradients import (
    avg_pool1d_input,
    avg_pool2d_input,
    avg_pool3d_input,
    lp_pool1d_input,
    lp_pool2d_input,
    lp_pool3d_input,
    max_pool1d_input,
    max_pool2d_input,
    max_pool3d_input,
)

__all__ = [
    "avg_pool1d_input",
    "avg_pool2d_input",
    "avg_pool3d_input",
    "conv1d_input",
    "conv1d_weight",
    "conv2d_input",
    "conv2d_weight",
    "conv3d_input",
    "conv3d_weight",
    "lp_pool1d_input",
    "lp_pool2d_input",
    "lp_pool3d_input",
    "max_pool1d_input",
    "max_pool2d_input",
    "max_pool3d_input",
]
