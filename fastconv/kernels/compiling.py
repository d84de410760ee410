"""What is compiled, and how: flags, names that last, the disk cache.

`compiled` is for what kernels call, `entry` for what Python calls. What kernels call becomes part of their code, and is never
made into machine code on its own.
"""

import gc
import hashlib
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

from llvmlite.binding import create_new_module_pass_manager
from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import InlineOverloads, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes, WithLifting

from fastconv.kernels.cache import NOTICE, DiskCache, lasting_name

# A NaN or inf goes where the standard says: no flag lets LLVM assume that there are none, or change the order of a sum.
# Whether a function is inlined is said of each: what is not said, Numba takes from the caller that it was compiled for first.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, "forceinline": False}
NOT_IN_KERNELS = (WithLifting, InlineClosureLikes, InlineOverloads, NopythonRewrites)  # no closures, no sums of arrays
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


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


class _Quiet:
    """A code generator that has no machine code to tell of its environment."""

    def __init__(self, codegen: Any) -> None:
        self._of = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: the code that has it is that of a kernel."""


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """LLVM's code, which is optimised when all that it calls is linked into it."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """Nothing yet: what is linked is optimised together."""
        ll_module.data_layout = self._codegen._data_layout


class _Part(_Library):
    """LLVM's code of a function that is linked into others, and never runs by itself."""

    @property
    def codegen(self) -> Any:
        return _Quiet(self._codegen)

    def get_pointer_to_function(self, name: str) -> int:
        """None: there is no machine code."""
        self._ensure_finalized()
        return 0

    def _optimize_final_module(self) -> None:
        """Little: each kernel that a part belongs to is optimised whole.

        Variables go from the stack to registers, and loops get the form that a kernel's passes know. With nothing done, loops
        around large tiles are slower; to optimise a part as a kernel is takes a sixth of the time to compile.
        """
        builder = self._codegen._pass_builder(opt=1, loop_vectorize=False, slp_vectorize=False)
        manager = create_new_module_pass_manager()
        manager.add_sroa_pass()
        manager.add_instruction_combine_pass()
        manager.add_simplify_cfg_pass()
        manager.add_loop_rotate_pass()
        manager.add_jump_threading_pass()
        with self._recorded_timings.record("Module passes of a part", builder):
            manager.run(self._final_module, builder)

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class KernelLibrary(_Library):
    """LLVM's code of a kernel, with all its parts."""

    def _optimize_final_module(self) -> None:
        """Once: Numba optimises twice, to find counts of references that cancel out, of which kernels have none inside."""
        manager, builder = self._codegen._module_pass_manager()
        with self._recorded_timings.record("Module passes of a kernel", builder):
            manager.run(self._final_module, builder)


class _Remembering:
    """Numba's typing for one function: a call that was typed before has the same type again.

    Types are inferred until none changes any more, and each round asks of every call what it returns.
    """

    def __init__(self, typingctx: Any) -> None:
        self._of = typingctx
        self._known: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def resolve_function_type(self, function: Any, positional: Any, named: Any) -> Any:
        """The signature of a call, or None where there is none yet."""
        key = (id(function), tuple(positional), tuple(dict(named).items()))
        _, found = self._known.get(key, (function, None))
        if found is None:
            found = self._of.resolve_function_type(function, positional, named)
            self._known[key] = function, found  # which keeps the function, and so its id
        return found


class _KernelCompiler(Compiler):  # type: ignore[misc]
    """Numba's compiler without the passes that look for what no kernel has."""

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, *others: Any) -> None:
        super().__init__(_Remembering(typingctx), targetctx, library or self.library_of(targetctx), *others)

    @staticmethod
    def library_of(targetctx: Any) -> Any:
        """What holds the code, and is kept on disk."""
        library = KernelLibrary(targetctx.codegen(), "kernel")
        library.enable_object_caching()
        return library

    def define_pipelines(self) -> list[PassManager]:
        """Numba's own pipeline but for NOT_IN_KERNELS."""
        (numba_pipeline,) = super().define_pipelines()
        pipeline = PassManager(numba_pipeline.pipeline_name)
        pipeline.passes = [one for one in numba_pipeline.passes if one[0] not in NOT_IN_KERNELS]
        pipeline.finalize()
        return [pipeline]


class _PartCompiler(_KernelCompiler):
    """The compiler of functions that become parts of kernels."""

    @staticmethod
    def library_of(targetctx: Any) -> Any:
        """What holds the code."""
        return _Part(targetctx.codegen(), "part")


def compiled(function: Callable[..., Any]) -> Any:
    """`function` for kernels to call: it becomes part of each kernel, and is nothing that Python could call."""
    return njit(**OPTIONS, **INNER, pipeline_class=_PartCompiler)(distinct(function))


def inlined(function: Callable[..., Any]) -> Any:
    """`function` for kernels to call with register tiles: always inlined, since a call would pass them through memory."""
    return njit(**(OPTIONS | INNER | {"forceinline": True}), pipeline_class=_PartCompiler)(distinct(function))


def without_collections(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` while Python's garbage collector rests: a compiler makes millions of objects, and few cycles of them.

    What waits for it is told where that takes long.
    """

    @wraps(function)
    def run(*arguments: Any) -> Any:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return function(*arguments)
        finally:
            NOTICE.end()
            if was_enabled:
                gc.enable()

    return run


def entry(function: Callable[..., Any], name: str, **options: Any) -> Any:
    """`function` for Python to call: compiled on its first call with each signature, and kept on disk under `name`."""
    dispatcher = njit(**OPTIONS, no_cfunc_wrapper=True, pipeline_class=_KernelCompiler, **options)(distinct(function, name))
    dispatcher.compile = without_collections(dispatcher.compile)
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = DiskCache(function.__name__, name, function.__module__)
    return dispatcher
