"""Arrays that end, or begin, at a page that nobody may touch; and a process in which touching it ends one test, not the run.

`guarded` copies an array into memory of its own between two pages without access: one element read or written past the end (or
before the beginning) is a segmentation fault. `Worker` is a process that runs functions of this module's kind of call, so that
a fault there is a message here. Run as a program, this module is the worker's side.
"""

import ctypes
import dataclasses
import importlib
import json
import mmap
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

PAGE = mmap.PAGESIZE
SECONDS = 120  # that one call may take, compilation included
SUPPORTED = sys.platform == "linux"


def guarded(array: np.ndarray, at: str = "end", boundary: int = 1) -> np.ndarray:
    """A copy of `array`, in C order, whose last byte lies before a guard page, or whose first follows one.

    With a `boundary`, the copy begins at a multiple of so many bytes and may end up to so many bytes before the guard page.
    """
    pages = -(-max(1, array.nbytes) // PAGE)
    block = mmap.mmap(-1, (pages + 2) * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (0, pages + 1):
        if libc.mprotect(ctypes.c_void_p(address + page * PAGE), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect failed")
    free = pages * PAGE - array.nbytes
    offset = PAGE + (free // boundary * boundary if at == "end" else 0)
    copy = np.frombuffer(block, np.uint8, array.nbytes, offset).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def guarded_everywhere(value: Any, at: str) -> Any:
    """Packed weights with every array in them guarded; packed arrays begin cache lines, and so do the copies."""
    if isinstance(value, np.ndarray):
        return guarded(value, at, 64) if value.flags.c_contiguous else value
    if isinstance(value, tuple):
        parts = [guarded_everywhere(part, at) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {field.name: guarded_everywhere(getattr(value, field.name), at) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **changes)
    return value


class Fault(Exception):
    """The worker died."""


class Worker:
    """A process that calls functions by name: one that dies is replaced for the next call."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def call(self, function: str, *arguments: Any) -> Any:
        """module.function(*arguments) in the worker; its exception is an AssertionError here, its death a Fault."""
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, str(Path(__file__).resolve())]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([function, arguments]) + "\n")
        stdin.flush()
        if not select.select([stdout], [], [], SECONDS)[0]:
            self.close()
            raise TimeoutError(f"{function} took more than {SECONDS} s")
        line = stdout.readline()
        if not line:
            code = self.process.wait()
            self.close()
            raise Fault(signal.Signals(-code).name if code < 0 else f"exit code {code}")
        ok, result = json.loads(line)
        assert ok, result
        return result

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def serve() -> None:
    """Answer calls until the other side closes."""
    for line in sys.stdin:
        name, arguments = json.loads(line)
        module, _, function = name.rpartition(".")
        try:
            answer = True, getattr(importlib.import_module(module), function)(*arguments)
        except Exception:
            answer = False, traceback.format_exc()
        print(json.dumps(answer), flush=True)


# What tests have called ---------------------------------------------------------------------------------------------------


def touch(at: str, distance: int, write: bool) -> float:
    """Read or write one element, `distance` elements past the end or before the beginning."""
    array = guarded(np.arange(10, dtype=np.float32), at)
    address = array.ctypes.data + array.itemsize * (len(array) - 1 + distance if at == "end" else -distance)
    cell = ctypes.c_float.from_address(address)
    if write:
        cell.value = 1.0
    return cell.value


def run_guarded(index: int, implementation: str, dtype: str, at: str) -> bool:
    """One of the cases with x, packed weights, w, bias and out at guard pages: the same bits as elsewhere.

    Returns whether the implementation serves the case.
    """
    from cases import BROAD
    from comparing import assert_same_bits

    case = BROAD[index]
    if implementation not in case.supporting(dtype):
        return False
    inputs = case.inputs(dtype, "normal")
    expected = case.call(inputs, implementation)
    outs = tuple(guarded(np.zeros_like(one), at) for one in (expected if isinstance(expected, tuple) else (expected,)))
    out = outs if isinstance(expected, tuple) else outs[0]
    fenced = {name: guarded(array, at) for name, array in inputs.items()}
    assert_same_bits(case.call(fenced, implementation, out=out), expected)
    if case.family == "activation":
        in_place = guarded(inputs["x"], at)
        assert_same_bits(case.call({"x": in_place}, implementation, out=in_place), expected)
    plan = case.plan(fenced, implementation)
    if plan.packed is not None and plan.problem.types.uniform:
        packed = guarded_everywhere(plan.packed, at)
        shapes = {one.name: one.kernel_shape for one in plan.operands}
        plan.compute({name: fenced[name].reshape(shape) for name, shape in shapes.items()}, packed, outs[0])
        assert_same_bits(outs[0], expected)
    return True


if __name__ == "__main__":
    serve()
