"""A geometry of each kind that `benchmarks.cliffs` draws, by a seed of its own: a cliff that comes back is seen here."""

import numpy as np

import fastconv as fc
from benchmarks import cliffs

SEED = 21
KINDS = [kind.__name__ for kind in cliffs.KINDS]
ORDERS = ["channels_first", "channels_last"]


def geometry_of(kind, order):
    """The first geometry of a kind that the seed draws, in one order of its axes."""
    first = next(cliffs.drawn(np.random.default_rng(SEED), [kind]))
    return first.ordered(order == "channels_last")


class Drawn:
    params = (KINDS, ORDERS)
    param_names = ("kind", "layout")
    timeout = 300

    def setup(self, kind, layout):
        fc.set_num_threads(1)
        geometry, rng = geometry_of(kind, layout), np.random.default_rng(SEED)
        self.x = rng.standard_normal(geometry.x_shape).astype(np.float32)
        w = () if geometry.w_shape is None else (rng.standard_normal(geometry.w_shape).astype(np.float32),)
        self.function, self.arguments, self.options = getattr(fc, geometry.operation), w, geometry.options
        self.plan = self.function.plan(self.x.shape, *w, **geometry.options)
        self.out = self.plan(self.x)

    def time_plan(self, kind, layout):
        self.plan(self.x, out=self.out)

    def time_function(self, kind, layout):
        self.function(self.x, *self.arguments, **self.options)
