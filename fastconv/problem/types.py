"""The dtypes of a problem: what arrays hold, what sums are made in, what the result holds."""

from typing import Any, NamedTuple

import numpy as np

Dtype = np.dtype[Any]


class Types(NamedTuple):
    """Dtypes in this machine's byte order.

    Attributes
    ----------
    stored, weights : numpy.dtype
        Of the input and of the weights; without weights, both are the input's.
    summed : numpy.dtype
        Of the products and sums: float32 for results in float16, else that of the result.
    result : numpy.dtype
        Of the output.
    """

    stored: Dtype
    weights: Dtype
    summed: Dtype
    result: Dtype

    @property
    def uniform(self) -> bool:
        """Whether all arrays hold what sums are made in: nothing is converted on the way."""
        return self.stored == self.weights == self.summed == self.result


def summed_in(result: Dtype) -> Dtype:
    """The dtype that sums of a result are made in: those of float16 are made in float32 and rounded once."""
    return np.dtype(np.float32) if result == np.float16 else result


def uniform(stored: Dtype, result: Dtype | None = None, weights: Dtype | None = None) -> Types:
    """Types of an operation whose result has the input's dtype, or the one given."""
    found = stored if result is None else result
    return Types(stored, stored if weights is None else weights, summed_in(found), found)
