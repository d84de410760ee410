"""Numba's compiler as kernels need it: its passes without those that look for what no kernel has."""

from types import BuiltinFunctionType
from typing import Any, ClassVar

from numba.core.compiler import Compiler
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import InlineOverloads, NativeLowering, NopythonRewrites, PreLowerStripPhis
from numba.core.untyped_passes import InlineClosureLikes, IRProcessing, ReconstructSSA, WithLifting

from fastconv.kernels.compiling.libraries import KernelLibrary, PartLibrary
from fastconv.kernels.compiling.passes import Lowering, PhiStripping, SingleAssignment

# No closures, no sums of arrays; where variables live is worked out where it is needed.
NOT_IN_KERNELS = (WithLifting, InlineClosureLikes, InlineOverloads, NopythonRewrites, IRProcessing)
OWN_PASSES = {ReconstructSSA: SingleAssignment, PreLowerStripPhis: PhiStripping, NativeLowering: Lowering}


class _Remembering:
    """Numba's typing for one function: a call that was typed before has the same type again.

    Types are inferred until none changes any more, and each round asks of every call what it returns. What Python's operators
    return is known for all functions.
    """

    _of_all: ClassVar[dict[Any, Any]] = {}

    def __init__(self, typingctx: Any) -> None:
        self._of = typingctx
        self._known: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def resolve_function_type(self, function: Any, positional: Any, named: Any) -> Any:
        """The signature of a call, or None where there is none yet."""
        known = self._known
        if type(function) is BuiltinFunctionType:
            function, known = self._of.resolve_value_type(function), self._of_all
        key = (id(function), tuple(positional), tuple(dict(named).items()))
        _, found = known.get(key, (function, None))
        if found is None:
            found = self._of.resolve_function_type(function, positional, named)
            known[key] = function, found  # which keeps the function, and so its id
        return found


class KernelCompiler(Compiler):  # type: ignore[misc]
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
        """Numba's own pipeline without NOT_IN_KERNELS, and with OWN_PASSES."""
        (numba_pipeline,) = super().define_pipelines()
        pipeline = PassManager(numba_pipeline.pipeline_name)
        for one, what in numba_pipeline.passes:
            if one not in NOT_IN_KERNELS:
                pipeline.add_pass(OWN_PASSES.get(one, one), what)
        pipeline.finalize()
        return [pipeline]


class PartCompiler(KernelCompiler):
    """The compiler of functions that become parts of kernels."""

    @staticmethod
    def library_of(targetctx: Any) -> Any:
        """What holds the code."""
        return PartLibrary(targetctx.codegen(), "part")
