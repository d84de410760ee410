"""fastconv's functions in the place of SciPy's: `patch_scipy()` once, or for the time of a with block.

A patched function asks fastconv first. What fastconv does not serve, and what it refuses, goes to SciPy's own function as if
nothing had happened: no fastconv function writes anything before it raises.
"""

import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

ROOMS = ("signal", "ndimage")
REFUSALS = (TypeError, ValueError, LookupError, RuntimeError, AttributeError, ArithmeticError)
FOREIGN = ("__array_namespace__", "__array__", "__array_interface__", "__cuda_array_interface__", "__dlpack__")
Function = Callable[..., Any]


class Patched:
    """What `patch_scipy` returns: a context manager that takes the patch back as its block ends, if that made it."""

    def __init__(self, names: tuple[str, ...], made: bool) -> None:
        self.names, self.made = names, made

    def __enter__(self) -> "Patched":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.made:
            unpatch_scipy()

    def __repr__(self) -> str:
        return f"<fastconv in the place of {len(self.names)} functions of SciPy>"


_lock = threading.RLock()
_replaced: list[tuple[ModuleType, str, Function]] = []
_names: list[str] = []


def patch_scipy() -> Patched:
    """Put fastconv's functions in the place of SciPy's, in scipy.signal and scipy.ndimage.

    Calls that fastconv does not serve go on to SciPy's own functions: arrays that are not NumPy's, objects for numbers, modes
    and filters it lacks, and whatever it refuses, so that errors are SciPy's.

    Returns
    -------
    Patched
        ``with fastconv.patch_scipy(): ...`` takes the patch back at the end of the block, unless it was there before. Its
        `names` are the functions that are replaced.

    Raises
    ------
    ImportError
        If SciPy is not installed.

    Notes
    -----
    Names that a module took before, by ``from scipy.ndimage import gaussian_filter``, cannot be reached: patch first, and
    import then. What it looks up when it calls, ``ndimage.gaussian_filter(image)`` as scikit-image does, and what SciPy's own
    modules call, is reached. A second call changes nothing. The patch holds for all threads.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.signal
    >>> import fastconv as fc
    >>> with fc.patch_scipy():
    ...     y = scipy.signal.convolve2d(np.ones((4, 4)), np.ones((2, 2)))
    >>> y.shape
    (5, 5)
    """
    with _lock:
        made = not _replaced
        if made:
            _put()
        return Patched(tuple(_names), made)


def unpatch_scipy() -> None:
    """Put SciPy's own functions back.

    Raises
    ------
    Nothing
        Where there is no patch, nothing changes.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.unpatch_scipy()
    """
    with _lock:
        for module, name, original in reversed(_replaced):
            setattr(module, name, original)
        _replaced.clear()
        _names.clear()


def tables() -> dict[str, ModuleType]:
    """Those of fastconv's modules with SciPy's names that there are, by their names."""
    found = (name for name in ROOMS if importlib.util.find_spec(f"fastconv.{name}"))
    return {name: importlib.import_module(f"fastconv.{name}") for name in found}


def _put() -> None:
    """Replace every function of the tables wherever a module of SciPy holds it."""
    for room, ours in tables().items():
        theirs = importlib.import_module(f"scipy.{room}")
        for name in ours.__all__:
            public = getattr(theirs, name, None)
            if not callable(public):
                continue
            _names.append(f"scipy.{room}.{name}")
            # The public function may be a wrapper of the one that SciPy's own modules call.
            for original in dict.fromkeys((public, getattr(public, "__wrapped__", public))):
                _replace(room, name, original, instead(getattr(ours, name), original))


def _replace(room: str, name: str, original: Function, replacement: Function) -> None:
    """Replace a function in the modules of scipy.{room} that hold it by its name."""
    for module_name, module in list(sys.modules.items()):
        inside = module_name == f"scipy.{room}" or module_name.startswith(f"scipy.{room}.")
        if inside and isinstance(module, ModuleType) and vars(module).get(name) is original:
            _replaced.append((module, name, original))
            setattr(module, name, replacement)


def instead(ours: Function, original: Function) -> Function:
    """A function with the name, the documentation and the signature of the original that asks fastconv's first."""

    @functools.wraps(original)
    def patched(*arguments: Any, **options: Any) -> Any:
        if any(map(is_foreign, arguments)) or any(map(is_foreign, options.values())):
            return original(*arguments, **options)
        try:
            return ours(*arguments, **options)
        except REFUSALS:
            pass
        return original(*arguments, **options)

    return patched


def is_foreign(value: Any) -> bool:
    """Whether a value is an array of another library, or of a subclass of NumPy's, or holds objects."""
    if type(value) is np.ndarray:
        return bool(value.dtype.hasobject)
    if isinstance(value, np.ndarray):
        return True
    return not isinstance(value, (np.generic, type)) and any(hasattr(value, name) for name in FOREIGN)
