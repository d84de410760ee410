"""The one doorway to Numba: flags, disk cache, threads.

`compiled` is for what kernels call, `Kernel` what Python calls: kernel(begin, end, ...) over independent items, which is
split over threads without changing the order of any sum.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba._dispatcher import compute_fingerprint
from numba.extending import overload

from fastconv.kernels import threads
from fastconv.kernels.cache import lasting_name
from fastconv.kernels.compiling.functions import compiled, entry, inlined
from fastconv.kernels.simd.vector.atomics import failed, laid_down
from fastconv.kernels.simd.vector.types import RECORDS
from fastconv.kernels.team import ALONE, lead
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem

__all__ = [
    "NO_WEIGHTS",
    "Call",
    "Kernel",
    "Launch",
    "compiled",
    "element",
    "flat",
    "inlined",
    "launch_calls",
    "make_calls",
    "overload",
    "types",
]

GRAIN = 200_000  # operations that a thread must have to do before it is worth waking
LONG = 10_000_000  # operations of a call that the interpreter's end waits for, on one thread too
PARTS = 4  # of a thread at most, where it has ITEMS and more for each: neighbouring items share what was read and transformed
ITEMS = 8


def most_threads(total: int, work: int) -> int:
    """The threads that pay for so many items and operations."""
    return min(total, 1 + work // GRAIN) if work >= GRAIN else 1


def parts_of(total: int, several: int) -> int:
    """The parts for each of several threads."""
    return max(1, min(PARTS, total // (ITEMS * several)))


@lru_cache(maxsize=64)
def region_of(count: int) -> Any:
    """How many parts of range(total) the kernel at an address raised for: the team makes them, or this thread alone.

    It is compiled once for all kernels whose arguments have the same types, of which there are exactly `count`.
    """
    names = ", ".join(f"argument{i}" for i in range(count))
    source = f"""
def region(team, address, parts, total, helpers, spins, {names}):
    arguments = ({names},)
    failures = lead(team, laid_down(arguments), address, parts, total, helpers, spins)
    return failed(address, 0, total, arguments) if failures == ALONE else failures
"""
    scope = {"lead": lead, "laid_down": laid_down, "failed": failed, "ALONE": ALONE, "__name__": __name__}
    exec(source, scope)
    return entry(scope["region"], f"region of {count} arguments")


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
        several = 1 if work < GRAIN else min(threads.count(), most_threads(total, work))
        if several > 1 or work >= LONG:
            threads.run_parts(self, several, several * parts_of(total, several), total, arguments)
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


class Call(NamedTuple):
    """A kernel with all of its arguments: kernel(items, work, *arguments)."""

    kernel: Kernel
    items: int
    work: int
    arguments: tuple[Any, ...]


def make_calls(calls: Iterable[Call]) -> None:
    """The calls, one after the other."""
    for kernel, items, work, arguments in calls:
        if work < GRAIN:  # as the kernel would decide, without asking it
            kernel.serial(0, items, *arguments)
        else:
            kernel(items, work, *arguments)


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
        """On flat arrays; where there is no residual, y stands for it, and where y holds it, an empty array."""
        if self.work < GRAIN:  # as the kernel would decide, without asking it
            self.kernel.serial(0, self.items, x, self.weights, self.bias, residual, y, *self.arguments)
        else:
            self.kernel(self.items, self.work, x, self.weights, self.bias, residual, y, *self.arguments)

    def call(self, x: Array, residual: Array, y: Array) -> Call:
        """What `run` does."""
        return Call(self.kernel, self.items, self.work, (x, self.weights, self.bias, residual, y, *self.arguments))


def flat(array: Array, summed: np.dtype[Any] | None = None) -> Array:
    """An array in C order as kernels take it: along one axis, and marked as to be converted to float32 on the way.

    Those of float16 always are; small integers are where sums are of another dtype.
    """
    one = array.ravel()  # C order: a view
    dtype = one.dtype
    if dtype is summed or dtype not in RECORDS:
        return one
    converted = dtype == np.float16 or (summed is not None and summed != dtype)
    return one.view(RECORDS[dtype]) if converted else one


def launch_calls(operands: Operands, packed: Launch | tuple[Launch, ...], problem: Problem, out: Array) -> tuple[Call, ...]:
    """The calls of one launch, or of several that run one after the other, on the operands of a convolution."""
    x, y = flat(operands["x"], problem.dtype), flat(out)
    residual = flat(operands["residual"]) if problem.residual else y
    return tuple(one.call(x, residual, y) for one in ((packed,) if isinstance(packed, Launch) else packed))


def element(dtype: np.dtype[Any]) -> str:
    """A dtype as kernels are named: f32 of float32."""
    return f"{dtype.kind}{8 * dtype.itemsize}"


def bytes_of(element: str) -> int:
    """Of a value of a type, by its name in kernels' names."""
    return int(element[1:]) // 8
