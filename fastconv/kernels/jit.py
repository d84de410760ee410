"""The one doorway to Numba: flags, disk cache, threads.

`compiled` is for what kernels call, `Kernel` what Python calls: kernel(begin, end, ...) over independent items, which is
split over threads without changing the order of any sum.
"""

import hashlib
import inspect
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange, types
from numba._dispatcher import compute_fingerprint
from numba.core import cgutils
from numba.core.callconv import RETCODE_NONE, RETCODE_OK
from numba.extending import intrinsic, overload

from fastconv.kernels import threads
from fastconv.kernels.cache import DiskCache, lasting_name
from fastconv.problem.convolutions import Array

__all__ = ["NO_WEIGHTS", "Kernel", "Launch", "compiled", "element", "inlined", "overload", "types"]

# A NaN or inf goes where the standard says: no flag lets LLVM assume that there are none, or change the order of a sum.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
GRAIN = 200_000  # operations that a thread must have to do before it is worth waking


def distinct(function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """A copy of `function` with a qualified name that no other function has, in this process or another.

    Numba makes symbols of qualified names and a number that each process counts from zero: of two kernels that were compiled in
    different processes and have one symbol, the second that is loaded would run the first one's code.
    """
    digest = hashlib.sha256((name or lasting_name(function)).encode()).hexdigest()[:16]
    found: Any = function
    copy = FunctionType(found.__code__, found.__globals__, found.__name__, found.__defaults__, found.__closure__)
    copy.__module__, copy.__qualname__ = found.__module__, f"{found.__qualname__}_{digest}"
    return copy


def compiled(function: Callable[..., Any]) -> Any:
    """`function` for kernels to call: it becomes part of each kernel, and is nothing that Python could call for long."""
    return njit(**OPTIONS, **INNER)(distinct(function))


def inlined(function: Callable[..., Any]) -> Any:
    """`function` for kernels to call with register tiles: always inlined, since a call would pass them through memory."""
    return njit(**OPTIONS, **INNER, forceinline=True)(distinct(function))


def entry(function: Callable[..., Any], name: str, **options: Any) -> Any:
    """`function` for Python to call: compiled on its first call with each signature, and kept on disk under `name`."""
    dispatcher = njit(**OPTIONS, no_cfunc_wrapper=True, **options)(distinct(function, name))
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = DiskCache(function.__name__, name, function.__module__)
    return dispatcher


@intrinsic
def failed(context, address, begin, end, arguments):
    """Call the compiled kernel at `address` as kernel(begin, end, *arguments); 1 if it raised, else 0.

    A call by address keeps the kernel's code out of the region's: it is compiled once, and one thread or many run the same.
    """
    kinds = (begin, end, *arguments.types)

    def generate(context, builder, signature, values):
        fields = [builder.extract_value(values[3], i) for i in range(len(arguments.types))]
        kind = context.call_conv.get_function_type(types.none, kinds)
        callee = builder.inttoptr(values[0], kind.as_pointer())
        result = cgutils.alloca_once(builder, context.call_conv.get_return_type(types.none).pointee)
        raised = cgutils.alloca_once_value(builder, cgutils.get_null_value(kind.args[1].pointee))
        packed = context.get_arg_packer(kinds).as_arguments(builder, (values[1], values[2], *fields))
        code = builder.call(callee, [result, raised, *packed])
        fine = builder.or_(builder.icmp_signed("==", code, RETCODE_OK), builder.icmp_signed("==", code, RETCODE_NONE))
        return builder.zext(builder.not_(fine), context.get_value_type(types.intp))

    return types.intp(address, begin, end, arguments), generate


@lru_cache(maxsize=64)
def region_of(count: int) -> Any:
    """A parallel region that runs the kernel at an address on equal parts of range(total), and counts the parts that failed.

    Numba takes tuples into a region only as arguments of their own, hence a function of exactly `count` of them. It is compiled
    once for all kernels whose arguments have the same types.
    """
    names = ", ".join(f"argument{i}" for i in range(count))
    source = f"""
def region(address, parts, total, {names}):
    failures = 0
    for part in prange(parts):
        failures += failed(address, part * total // parts, (part + 1) * total // parts, ({names},))
    return failures
"""
    scope = {"prange": prange, "failed": failed, "__name__": __name__}
    exec(source, scope)
    return entry(scope["region"], f"region of {count} arguments", parallel=True)


class Kernel:
    """A compiled kernel(begin, end, *arguments) that writes items begin .. end - 1 of its output and reads no other's.

    Call it with the number of items, the number of scalar operations in all (which decides how many threads pay), and the
    arguments. It is compiled once for each combination of the types of all its arguments.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.serial = entry(function, lasting_name(function))
        self.region = region_of(len(inspect.signature(function).parameters) - 2)
        self.addresses: dict[bytes, int] = {}
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, total: int, work: int, *arguments: Any) -> None:
        parts = min(threads.count(), total, 1 + work // GRAIN) if work >= GRAIN else 1
        if parts > 1:
            threads.run_parts(self, parts, total, arguments)
        else:
            self.serial(0, total, *arguments)

    def address(self, arguments: tuple[Any, ...]) -> int:
        """Where the code for arguments of these types lies, compiled if need be.

        Numba's fingerprint tells the types of all arguments, those inside tuples too, in a microsecond.
        """
        key = compute_fingerprint(arguments)
        found = self.addresses.get(key)
        if found is None:
            self.serial(0, 0, *arguments)
            kinds = tuple(map(self.serial.typeof_pyval, (0, 0, *arguments)))
            result = self.serial.overloads[kinds]
            found = self.addresses[key] = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        return found


NO_WEIGHTS = np.empty(0)  # of a launch that waits for them


class Launch(NamedTuple):
    """A kernel of a convolution with all of its arguments but the arrays x, residual and y.

    Attributes
    ----------
    items, work : int
        As the kernel takes them: independent items, scalar operations in all.
    weights, bias : array
        Flat, as the kernel reads them; both may lie in one array.
    arguments : tuple
        Sizes and parameters.
    """

    kernel: Kernel
    items: int
    work: int
    weights: Array
    bias: Array
    arguments: tuple[Any, ...]

    def with_weights(self, weights: Array, bias: Array) -> "Launch":
        """The same launch with other arrays: all else depends on the geometry alone, and is kept from call to call."""
        return Launch(self.kernel, self.items, self.work, weights, bias, self.arguments)

    def run(self, x: Array, residual: Array, y: Array) -> None:
        """On flat arrays; where there is no residual, y stands for it."""
        if self.work < GRAIN:  # as the kernel would decide, without asking it
            self.kernel.serial(0, self.items, x, self.weights, self.bias, residual, y, *self.arguments)
        else:
            self.kernel(self.items, self.work, x, self.weights, self.bias, residual, y, *self.arguments)


def element(dtype: np.dtype[Any]) -> str:
    """A dtype as kernels are named: f32 of float32."""
    return f"{dtype.kind}{8 * dtype.itemsize}"
