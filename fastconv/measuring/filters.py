"""A function of fastconv.ndimage or fastconv.signal beside SciPy's of the same name, and OpenCV's where that has one.

    call = call_of("ndimage.gaussian_filter", (2048, 2048), "float32", sigma=2)
    rows = compared(call, rivals=True)

Results are compared with SciPy's before anything is timed; then all are timed in turn, and medians are taken.
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np

import fastconv as api
from fastconv.plans.timing import timed_round
from fastconv.problem.convolutions import Array, Size

ROUNDS = 5
BORDERS = {"reflect": "BORDER_REFLECT", "mirror": "BORDER_REFLECT_101", "nearest": "BORDER_REPLICATE"}
MODULES = ("ndimage", "signal")
# What a function takes beside its array, by the option of the command line that gives it; and what it has without that.
_GAUSSIAN = ("gaussian_filter", "gaussian_filter1d", "gaussian_laplace", "gaussian_gradient_magnitude")
_BOX = ("uniform_filter", "uniform_filter1d", "maximum_filter", "minimum_filter", "maximum_filter1d", "minimum_filter1d")
_GREY = ("grey_erosion", "grey_dilation", "grey_opening", "grey_closing", "white_tophat", "black_tophat")
_GROUPS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (_GAUSSIAN, {"sigma": 1.0}),
    ((*_BOX, *_GREY, "morphological_gradient", "morphological_laplace", "median_filter"), {"size": 3}),
    (("rank_filter",), {"rank": 1, "size": 3}),
    (("percentile_filter",), {"percentile": 20, "size": 3}),
    (("correlate", "convolve"), {"weights": 5}),
    (("correlate1d", "convolve1d"), {"line": 5}),
    (("fftconvolve", "oaconvolve", "convolve2d", "correlate2d"), {"second": 5}),
    (("medfilt", "medfilt2d"), {"kernel_size": 3}),
)
NEEDS = {name: needs for names, needs in _GROUPS for name in names}
ALONE = ("sobel", "prewitt", "laplace")


@dataclass(frozen=True)
class Call:
    """A call of a function that fastconv and SciPy have.

    Attributes
    ----------
    module, function : str
        "ndimage" or "signal", and the name there.
    x : array
        The image, or the signal.
    operands : tuple of array
        Further arrays.
    options : dict
        Further arguments by name.
    """

    module: str
    function: str
    x: Array
    operands: tuple[Array, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def of(self, package: str) -> Callable[[], Array]:
        """The call, of "fastconv" or "scipy"."""
        function = getattr(importlib.import_module(f"{package}.{self.module}"), self.function)
        return lambda: function(self.x, *self.operands, **self.options)

    def __str__(self) -> str:
        given = [f"{name}={value}" for name, value in self.options.items()]
        shapes = ["x".join(map(str, array.shape)) for array in (self.x, *self.operands)]
        return f"{self.module}.{self.function}({', '.join(shapes + given)}) {self.x.dtype}"


@dataclass(frozen=True)
class Row:
    """What a library did with a call: seconds, and the largest difference from SciPy's result; or why it has none.

    Attributes
    ----------
    library : str
        "fastconv", "scipy" or "cv2".
    seconds : float or None
        The median.
    difference : float or None
        From SciPy's result.
    note : str
        Why it did not run, or what ran.
    """

    library: str
    seconds: float | None = None
    difference: float | None = None
    note: str = ""


def call_of(name: str, shape: Size, dtype: str = "float32", mode: str | None = None, seed: int = 0, **given: Any) -> Call:
    """The call that a name, a shape and some numbers tell; what is not given has a usual value.

    Raises
    ------
    ValueError
        If the name is unknown, or a number is not one of the function's.
    """
    module, _, function = name.partition(".")
    if module not in MODULES or function not in getattr(api, module).__all__:
        known = ", ".join(f"{one}.{each}" for one in MODULES for each in getattr(api, one).__all__ if each in (*NEEDS, *ALONE))
        raise ValueError(f"the operation must be a convolution, a pool or one of {known}; got {name!r}")
    group = "signal" if module == "signal" and function in ("convolve", "correlate") else function
    needs = {"second": 5} if group == "signal" else NEEDS.get(function, {} if function in ALONE else None)
    if needs is None:
        raise ValueError(f"{name} cannot be compared by its shape and a few numbers; {', '.join((*NEEDS, *ALONE))} can")
    renamed = {"kernel": next((key for key in ("weights", "line", "second", "kernel_size") if key in needs), "kernel")}
    given = {renamed.get(key, key): value for key, value in given.items()}
    for key in given:
        if key not in needs:
            raise ValueError(f"{name} takes {', '.join(f'--{one}' for one in needs) or 'nothing'} beside the shape, not {key}")
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    x = rng.integers(0, 256, shape).astype(kind) if kind.kind in "iu" else rng.standard_normal(shape).astype(kind)
    values = {**needs, **given}
    operands = tuple(_operand(key, values.pop(key), x, rng) for key in ("weights", "line", "second") if key in values)
    if mode is not None:
        values["mode"] = mode
    return Call(module, function, x, operands, values)


def _operand(kind: str, size: Any, x: Array, rng: np.random.Generator) -> Array:
    """Weights over all axes, along one, or of the array's dtype."""
    sides = (size,) if kind == "line" else (size,) * x.ndim if isinstance(size, int) else tuple(size)
    found = rng.standard_normal(sides)
    return found.astype(x.dtype) if kind == "second" and x.dtype.kind == "f" else found


def compared(call: Call, rivals: bool = True, seconds: float = 0.5) -> list[Row]:
    """fastconv first, then SciPy and OpenCV, timed in turn.

    Raises
    ------
    RuntimeError
        If fastconv's result is not SciPy's to the rounding of its dtype.
    """
    runs: dict[str, Callable[[], Array]] = {"fastconv": call.of("fastconv")}
    notes: dict[str, str] = {}
    if rivals:
        for library in ("scipy", "cv2"):
            try:
                runs[library] = call.of("scipy") if library == "scipy" else _opencv(call)
            except ImportError:
                notes[library] = "not installed"
            except ValueError as error:
                notes[library] = str(error)
    if "cv2" in runs and call.function == "median_filter":
        notes["cv2"] = "medianBlur repeats the cells at the border, whatever the mode"
    results = {name: run() for name, run in runs.items()}
    differences = {name: _difference(found, results.get("scipy")) for name, found in results.items()}
    limit = _allowed(call, results.get("scipy"))
    if differences["fastconv"] is not None and differences["fastconv"] > limit:
        raise RuntimeError(f"{call}: differs from SciPy by {differences['fastconv']:.3g}, and {limit:.3g} is rounding")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            times[name] += timed_round(run, seconds / ROUNDS)
    rows = [Row(name, median(times[name]), differences[name], notes.get(name, "")) for name in runs]
    return rows + [Row(name, note=note) for name, note in notes.items() if name not in runs]


def document(call: Call, rows: list[Row]) -> str:
    """JSON of a comparison."""
    shapes = [list(array.shape) for array in (call.x, *call.operands)]
    found = {
        "function": f"{call.module}.{call.function}",
        "dtype": call.x.dtype.name,
        "shapes": shapes,
        "options": call.options,
        "threads": api.get_num_threads(),
        "rows": [asdict(row) for row in rows],
    }
    return json.dumps(found, indent=2)


def _difference(found: Array, expected: Array | None) -> float | None:
    if expected is None or found.shape != expected.shape:
        return None
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0))


def _allowed(call: Call, expected: Array | None) -> float:
    """The rounding of sums: of integers none, of floats some eps of the largest terms for each cell of a window."""
    if expected is None:
        return float("inf")
    if expected.dtype.kind != "f":
        return 0.0
    terms = max(1.0, *(float(np.abs(w).sum()) for w in call.operands), 16.0) * max(1.0, float(np.abs(call.x).max(initial=0)))
    return 16 * float(np.finfo(expected.dtype).eps) * terms


# OpenCV -----------------------------------------------------------------------------------------------------------------------


def _opencv(call: Call) -> Callable[[], Array]:
    """The call of OpenCV's that gives the same, but for its rounding.

    Raises
    ------
    ValueError
        If it has none.
    """
    import cv2

    cv2.setNumThreads(api.get_num_threads())
    x, options = call.x, call.options
    if call.module != "ndimage" or x.ndim != 2 or x.dtype.name not in ("uint8", "float32", "float64"):
        raise ValueError("OpenCV has two axes, and of these dtypes uint8, float32 and float64")
    mode = options.get("mode", "reflect")
    if mode not in BORDERS:
        raise ValueError(f"OpenCV is compared in the modes {', '.join(BORDERS)}, not {mode}")
    border, out = getattr(cv2, BORDERS[mode]), np.empty_like(x)
    size = options.get("size", 3)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    square = np.ones(sides, np.uint8)
    if "footprint" in options:
        if call.function not in ("grey_dilation", "grey_erosion"):
            raise ValueError(f"OpenCV has no {call.function} of a footprint")
        square = np.asarray(options["footprint"], np.uint8)
    taps = 2 * int(4 * options.get("sigma", 1.0) + 0.5) + 1
    wide = cv2.CV_16S if x.dtype == np.uint8 else -1
    weights = call.operands[0] if call.operands else None
    known: dict[str, Callable[[], Any]] = {
        "gaussian_filter": lambda: cv2.GaussianBlur(x, (taps, taps), options["sigma"], dst=out, borderType=border),
        "uniform_filter": lambda: cv2.blur(x, sides[::-1], dst=out, borderType=border),
        "maximum_filter": lambda: cv2.dilate(x, square, dst=out, borderType=border),
        "grey_dilation": lambda: cv2.dilate(x, square, dst=out, borderType=border),
        "minimum_filter": lambda: cv2.erode(x, square, dst=out, borderType=border),
        "grey_erosion": lambda: cv2.erode(x, square, dst=out, borderType=border),
        "morphological_gradient": lambda: cv2.morphologyEx(x, cv2.MORPH_GRADIENT, square, borderType=border),
        "white_tophat": lambda: cv2.morphologyEx(x, cv2.MORPH_TOPHAT, square, borderType=border),
        "sobel": lambda: cv2.Sobel(x, wide, 1, 0, borderType=border),
        "laplace": lambda: cv2.Laplacian(x, wide, borderType=border),
        "correlate": lambda: cv2.filter2D(x, -1, weights, dst=out, borderType=border),
    }
    if (
        call.function == "median_filter"
        and sides[0] == sides[1]
        and sides[0] in ((3, 5) if x.itemsize > 1 else range(3, 256, 2))
    ):
        if x.dtype == np.float64:
            raise ValueError("cv2.medianBlur has no float64")
        return lambda: cv2.medianBlur(x, sides[0])
    if call.function not in known:
        raise ValueError(f"OpenCV has no {call.function}, or not of this size")
    return known[call.function]
