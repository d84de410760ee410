"""What the functions of SciPy's names take as arrays, and the sentences that their errors share with SciPy's."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.problem.foreign import converted
from fastconv.served import NotServed

Array = npt.NDArray[Any]

MODES = ("valid", "same", "full")
BAD_MODE = "Acceptable mode flags are 'valid', 'same', or 'full'."


def numbers(name: str, value: Any) -> Array:
    """`value` as an array of numbers, or of truth values, in this machine's byte order."""
    found = value if type(value) is np.ndarray else converted(name, value)
    if found.dtype.kind == "O":
        raise NotServed(f"{name} holds objects, which fastconv does not compute with: convert it to a dtype of numbers")
    if found.dtype.kind not in "biufc":
        raise TypeError(f"{name} must be an array of numbers, got dtype {found.dtype}")
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def is_mode(mode: Any) -> bool:
    """Whether `mode` is one of the three; what cannot be compared with them is none."""
    return isinstance(mode, str) and mode in MODES


def reversed_conjugate(w: Array) -> Array:
    """`w` turned around along every axis, and conjugated: to convolve with it is to correlate with `w`."""
    turned = w[(slice(None, None, -1),) * w.ndim]
    return turned.conj() if w.dtype.kind == "c" else turned


def largest(value: Array) -> int:
    """The largest magnitude of whole numbers."""
    if not value.size or value.dtype.kind == "b":
        return int(value.size > 0)
    return max(abs(int(value.max())), abs(int(value.min())))
