"""What users pass, one argument at a time: arrays, dtypes, ints and tuples, names. Every function checks and normalises.

A refusal is a ValueError or TypeError that names the argument, gives what came and says what is allowed.
"""

import math
import operator
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastconv.problem.convolutions import IDENTITY, LAYOUTS, Activation, Array, Size
from fastconv.problem.foreign import converted

LARGEST = 2**62  # no size, offset or byte count may pass it, so that int64 arithmetic on two of them cannot wrap
ACTIVATIONS = {
    "relu": Activation("clip", 0.0, math.inf),
    "relu6": Activation("clip", 0.0, 6.0),
    "leaky_relu": Activation("leaky_relu", 0.01),
    "silu": Activation("silu"),
    "hardswish": Activation("hardswish"),
    "gelu": Activation("gelu"),
}
ACTIVATION_FORMS = f'None, {", ".join(map(repr, ACTIVATIONS))}, ("clip", low, high) or ("leaky_relu", slope)'
DTYPES = "float16, float32, float64, complex64, complex128 or an integer type"
SUPPORTED = frozenset(map(np.dtype, "efdFDbhilqBHILQ"))  # in this machine's byte order


def about_shapes(error: Exception) -> Exception:
    """A refusal of an array x as that of x_shape or x_dtype, which the caller of a plan passed."""
    told = re.sub("^x has dtype ", "x_dtype is ", re.sub("^x(?= must have | and kernel_size must)", "x_shape", str(error)))
    error.args = (told, *error.args[1:])
    return error


# Arrays -----------------------------------------------------------------------------------------------------------------


def array(name: str, value: Any) -> Array:
    """`value` as an ndarray of a dtype that fastconv computes with."""
    if type(value) is not np.ndarray:
        value = converted(name, value)
    if value.dtype not in SUPPORTED:
        dtype(name, value.dtype)
    return value


def dtype(name: str, value: Any) -> np.dtype[Any]:
    """`value` as a dtype that fastconv computes with, in this machine's byte order."""
    if isinstance(value, bytes):
        raise TypeError(f"{name} must be a dtype, got {value!r}")
    try:
        found = np.dtype(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a dtype, got {value!r}: {error}") from error
    if found.kind not in "fiuc" or found.itemsize > (16 if found.kind == "c" else 8):
        asked = name.endswith("dtype")  # and no array's
        viewed = "an array of numpy.uint8, x.view(numpy.uint8)," if asked else f"{name}.view(numpy.uint8)"
        view = f"; {viewed} sees it as zeros and ones" if found.kind == "b" else ""
        raise TypeError(f"{name} {'is' if asked else 'has dtype'} {found}, which is not supported: {DTYPES} is{view}")
    return native(found)


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in this machine's byte order; the very same object where it is so already."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def result_dtype(usual: np.dtype[Any], dtype_asked: Any) -> np.dtype[Any]:
    """The dtype of a result and its sums: the one asked for, which the usual one must cast to, or the usual one."""
    if dtype_asked is None:
        return usual
    found = dtype("dtype", dtype_asked)
    if not np.can_cast(usual, found, "same_kind"):
        raise TypeError(f"dtype must be one that {usual}, the dtype of x and w together, casts to, got {found}")
    return found


def cast(name: str, value: Array, result: np.dtype[Any]) -> Array:
    """`value`, whose dtype must cast to that of the result."""
    if not np.can_cast(value.dtype, result, "same_kind"):
        raise TypeError(f"{name} must have a dtype that casts to {result}, the dtype of the result, got {value.dtype}")
    return value


def contiguous(value: Array, dtype: np.dtype[Any]) -> Array:
    """`value` in C order, of `dtype`, aligned, in native byte order and writeable for Numba: a copy where it must be."""
    flags = value.flags
    if not (flags.c_contiguous and flags.aligned and value.dtype == dtype and value.dtype.isnative):
        # A NaN or an overflow that a cast meets is the data's affair.
        with np.errstate(all="ignore"):
            return np.array(value, dtype=dtype, order="C")
    return value if flags.writeable else _writeable_alias(value)


class _Memory:
    """An array interface that says writeable, so that read-only arrays need no second compilation. Kernels only read."""

    def __init__(self, value: Array) -> None:
        self.owner = value
        interface = dict(value.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def _writeable_alias(value: Array) -> Array:
    return np.asarray(_Memory(value)) if value.size else np.empty(value.shape, value.dtype)


def shape(name: str, value: Any) -> Size:
    """A shape: non-negative ints whose product a 64-bit offset can hold."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise TypeError(f"{name} must be a tuple of non-negative ints, got {value!r}")
    sizes = tuple(integer(name, size, 0) for size in value)
    if math.prod(size for size in sizes if size) * 16 > LARGEST:
        raise ValueError(f"{name} is {sizes}: more elements than a 64-bit offset can reach")
    return sizes


def batched(name: str, size: Size, rank: int) -> tuple[Size, bool]:
    """(shape with a batch axis, whether it came without one) of an array with a channel axis and `rank` others."""
    if len(size) == rank + 2:
        return size, False
    if len(size) == rank + 1:
        return (1, *size), True
    raise ValueError(
        f"{name} must have {rank + 2} dimensions (batch, channel and {rank} spatial), or {rank + 1} without the batch, "
        f"got shape {size}"
    )


def output(out: Any, size: Size, dtype: np.dtype[Any], inputs: dict[str, Array], name: str = "out") -> Array:
    """`out`, or a new array: an array of exactly this shape and dtype that can be written and shares no input's memory."""
    if out is None:
        return np.empty(size, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(out).__name__}")
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array")
    if out.shape != size:
        raise ValueError(f"{name} must have shape {size}, got {out.shape}")
    if out.dtype != dtype:
        raise TypeError(f"{name} must have dtype {dtype}, got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{name} must be writeable, got a read-only array")
    if not out.flags.c_contiguous and shares_cells(out):
        raise ValueError(f"{name} must have cells of its own, got an array whose cells overlap (strides {out.strides})")
    for other, value in inputs.items():
        if overlap(out, value):
            raise ValueError(f"{name} must not overlap {other}: they share memory")
    return out


def shares_cells(value: Array) -> bool:
    """Whether cells of one array may share memory: whether an axis steps by less than those of smaller steps span.

    Slices, transposes and reshapes never do; of what stride tricks make, a few that do not are taken to.
    """
    span = value.itemsize
    for step, cells in sorted((abs(step), cells) for step, cells in zip(value.strides, value.shape, strict=True) if cells > 1):
        if step < span:
            return value.size > 1
        span += step * (cells - 1)
    return False


def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays share memory; taken to be so where finding out would take long."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


# Numbers ----------------------------------------------------------------------------------------------------------------


def integer(name: str, value: Any, minimum: int) -> int:
    """An int of at least `minimum`; bools and floats are not ints."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an int, got {value!r}")
    try:
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}") from None
    if found < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {found}")
    if found > LARGEST:
        raise ValueError(f"{name} must be below 2**62, got {found}")
    return found


def per_axis(name: str, value: Any, rank: int, minimum: int = 1) -> Size:
    """One int for every axis, or one int per axis."""
    if is_sequence(value):
        if len(value) != rank:
            raise ValueError(f"{name} must be an int or {rank} ints, one per axis, got {value!r}")
        return tuple(integer(name, entry, minimum) for entry in value)
    return (integer(name, value, minimum),) * rank


def footprint(value: Any) -> tuple[Size, bytes] | None:
    """(shape, a byte for each cell) of an array of bools, which can be compared and looked up."""
    if value is None:
        return None
    found = converted("footprint", value)
    if found.dtype.kind not in "biu":
        raise TypeError(f"footprint must be an array of bools, got dtype {found.dtype}")
    mask = found != 0
    if not mask.any():
        raise ValueError(f"footprint must have a cell that is True, got shape {found.shape} without one")
    return mask.shape, mask.tobytes()


def boolean(name: str, value: Any) -> bool:
    """True or False, NumPy's included."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def is_sequence(value: Any) -> bool:
    """Whether a value has entries: a tuple, a list, or an array that is no single number."""
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


# Names ------------------------------------------------------------------------------------------------------------------


def numeric(name: str, value: Any) -> None:
    """Refuse what is no number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, complex, np.number)):
        raise TypeError(f"{name} must be a number, got {value!r}")


def number(name: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """A number that an array of `dtype` can hold: an int, a float or a complex."""
    numeric(name, value)
    if dtype.kind == "c":
        return complex(value)
    if isinstance(value, (complex, np.complexfloating)):
        raise TypeError(f"{name} must be real for {dtype}, got {value!r}")
    found = real(name, value)
    if dtype.kind not in "iu":
        return float(found)
    limits = np.iinfo(dtype)
    if not math.isfinite(found) or int(found) != found or not limits.min <= found <= limits.max:
        raise ValueError(f"{name} must be a whole number that {dtype} holds, got {value!r}")
    return int(found)


def channels_last(layout: Any, rank: int) -> bool:
    """Whether a layout name puts channels last."""
    if layout is None:
        return False
    if not isinstance(layout, str) or layout not in LAYOUTS[rank]:
        raise ValueError(f"layout must be None or one of {LAYOUTS[rank]}, got {layout!r}")
    return bool(LAYOUTS[rank].index(layout))


def activation(value: Any, dtype: np.dtype[Any]) -> Activation:
    """An activation that `dtype` has."""
    found = _activation(value)
    if found is IDENTITY:
        return found
    if dtype.kind == "c":
        raise TypeError(f"activation must be None for complex dtypes, got {value!r} with {dtype}")
    if dtype.kind in "iu" and found.kind != "clip":
        raise TypeError(f"activation must be None or a clip for integer dtypes, got {value!r} with {dtype}")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = max(found.low, limits.min), min(found.high, limits.max)
        if not float(low).is_integer() or not float(high).is_integer() or low > limits.max or high < limits.min:
            raise ValueError(f"activation must have whole bounds inside {dtype}'s range, got {value!r}")
        return Activation("clip", int(low), int(high))
    return found


def _activation(value: Any) -> Activation:
    if value is None:
        return IDENTITY
    if isinstance(value, str):
        if value not in ACTIVATIONS:
            raise ValueError(f"activation must be {ACTIVATION_FORMS}, got {value!r}")
        return ACTIVATIONS[value]
    if isinstance(value, (tuple, list)) and len(value) == 3 and _named(value, "clip"):
        low, high = (real("activation", bound) for bound in value[1:])
        if math.isnan(low) or math.isnan(high) or low > high:
            raise ValueError(f'activation must be ("clip", low, high) with low <= high, got {value!r}')
        return Activation("clip", low + 0.0, high + 0.0)  # -0.0 becomes 0.0: equal geometries must mean the same
    if isinstance(value, (tuple, list)) and len(value) == 2 and _named(value, "leaky_relu"):
        slope = real("activation", value[1])
        if not math.isfinite(slope):
            raise ValueError(f"activation must have a finite slope, got {value!r}")
        return Activation("leaky_relu", slope + 0.0)
    kind = ValueError if isinstance(value, (tuple, list)) else TypeError
    raise kind(f"activation must be {ACTIVATION_FORMS}, got {value!r}")


def _named(value: Any, kind: str) -> bool:
    return isinstance(value[0], str) and value[0] == kind


def real(name: str, value: Any) -> float:
    """A real number that is no bool."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    return value if isinstance(value, int) else float(value)
