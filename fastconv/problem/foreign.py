"""What users pass for an array that is not NumPy's: read where its cells lie in this machine's memory, refused elsewhere."""

from typing import Any

import numpy as np

from fastconv.problem.convolutions import Array

PLAIN_VALUES = frozenset((int, float, complex, bool, list, tuple, memoryview, bytearray))
IN_MEMORY = (1, 3, 11, 13)  # DLPack's numbers of devices whose memory this machine reads: its own, pinned, managed


class LazyArray(TypeError):
    """An array whose cells are not computed yet, where one of NumPy's is needed; `library` is whose it is."""

    def __init__(self, message: str, library: str) -> None:
        super().__init__(message)
        self.library = library


def converted(name: str, value: Any) -> Array:
    """What numpy.asarray, or numpy.from_dlpack, makes of an object that is not an ndarray."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array: fill it first, {name}.filled(0) for instance")
    if value is None or isinstance(value, (str, bytes, dict, set)):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}")
    value = at_hand(name, value)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError, BufferError, AttributeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name} must be an array, got {type(value).__name__}, which NumPy cannot read: {error}") from error


def at_hand(name: str, value: Any) -> Any:
    """`value`, whose cells are in this machine's memory, or the array that it labels.

    Lazy arrays, arrays on a device and sparse ones are refused: NumPy would compute, copy or densify them whole unasked.
    """
    if type(value) in PLAIN_VALUES or isinstance(value, (np.ndarray, np.generic)):
        return value
    library, kind = type(value).__module__.partition(".")[0], type(value).__name__
    if library == "xarray" and hasattr(value, "data"):
        return at_hand(name, value.data)
    if library == "dask":
        raise LazyArray(f"{name} is a dask array, which only fastconv's functions take: compute it, {name}.compute()", library)
    device = device_of(value)
    if device is not None:
        raise TypeError(
            f"{name} must be in this machine's memory, got {library}'s {kind} on {device}: copy it first, "
            f"{name}.{'get()' if library == 'cupy' else 'cpu()'} for instance"
        )
    for method in ("todense", "toarray"):
        if hasattr(value, method):
            raise TypeError(f"{name} must be a dense array, got {library}'s sparse {kind}: convert it first, {name}.{method}()")
    if hasattr(value, "compute"):
        raise TypeError(f"{name} must be an array, got {library}'s {kind}, which is lazy: compute it first, {name}.compute()")
    if hasattr(value, "chunks") and hasattr(value, "shape"):
        raise TypeError(
            f"{name} must be an array, got {library}'s {kind}, which is stored in chunks: read it, {name}[...], or pass it "
            f"lazily, dask.array.from_array({name})"
        )
    return value


def device_of(value: Any) -> str | None:
    """The device that holds an array where that is not this machine's memory."""
    if hasattr(value, "__cuda_array_interface__"):
        return "a GPU"
    device = getattr(value, "device", None)
    kind = getattr(device, "type", None)
    if isinstance(kind, str) and kind != "cpu":
        return str(device)
    try:
        number = int(value.__dlpack_device__()[0])
    except Exception:
        return None
    return None if number in IN_MEMORY else f"device type {number} of DLPack"
