"""Arrays of every dtype and memory layout, and how close results of sums of products have to be to SciPy's."""

import warnings

import numpy as np

INTEGERS, FLOATS, COMPLEX = "bBhHiIlL", "fd", "FD"
LAYOUTS = ("plain", "reversed", "fortran", "swapped", "strided, read-only")


def array(rng, shape, dtype, whole_range=False):
    """Random numbers: integers of the dtype's whole range or small ones."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) > 0.5
    if kind in "iu":
        limits = np.iinfo(dtype)
        low, high = (limits.min, limits.max) if whole_range else (max(limits.min, -5), 6)
        return rng.integers(low, high, shape, dtype=dtype)
    found = rng.standard_normal(shape)
    return (found + 1j * rng.standard_normal(shape) if kind == "c" else found).astype(dtype)


def laid_out(x, layout):
    """The same numbers, laid out otherwise in memory."""
    if layout == "reversed" and x.ndim:
        return np.ascontiguousarray(x[::-1])[::-1]
    if layout == "fortran":
        return np.asfortranarray(x)
    if layout == "swapped":
        return x.astype(x.dtype.newbyteorder())
    if layout == "strided, read-only" and x.ndim:
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        wide[..., ::2] = x
        wide.flags.writeable = False
        return wide[..., ::2]
    return x


def outcome(function, *arguments, **options):
    """What a call returns, or the error that it raises; warnings are not errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*arguments, **options)
        except Exception as error:
            return error


def precision(*values):
    """The coarsest eps of the arrays that are no integers; of integers that of float64."""
    found = [np.finfo(np.float64).eps]
    for value in values:
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc":
            found.append(np.finfo(value.dtype).eps)
    return float(max(found))


def agree(found, expected, terms, *inputs):
    """The same dtype and shape, and numbers: whole ones equal, others within eps times the terms times the largest."""
    assert not isinstance(found, Exception), found
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype.newbyteorder("="), expected.shape)
    if expected.dtype.kind in "iub":
        np.testing.assert_array_equal(found, expected)
    elif expected.size:
        scale = float(np.abs(expected).max())
        bound = 4 * precision(found, *inputs) * (terms + 8) * (1 + scale)
        assert np.abs(found - expected).max() <= bound


def agree_or_refuse(ours, theirs, terms, *arguments, **options):
    """Both give the same numbers, or both refuse with errors of one kind."""
    expected, found = outcome(theirs, *arguments, **options), outcome(ours, *arguments, **options)
    if isinstance(expected, Exception):
        assert isinstance(found, Exception), f"SciPy raises {expected!r}"
        assert isinstance(found, type(expected)) or isinstance(expected, type(found)), (found, expected)
    else:
        agree(found, expected, terms, *arguments)
