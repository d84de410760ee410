"""LLVM's code of kernels and of their parts: what is optimised when, and what is linked into what."""

from typing import Any

from llvmlite.binding import create_new_module_pass_manager
from numba.core.codegen import JITCodeLibrary


class _Quiet:
    """A code generator that has no machine code to tell of its environment."""

    def __init__(self, codegen: Any) -> None:
        self._of = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: the code that has it is that of a kernel."""


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """LLVM's code as Numba keeps it, which optimises nothing yet."""

    _linking_libraries: list[Any]
    _shared_module: Any

    def _optimize_functions(self, ll_module: Any) -> None:
        """Nothing: what is linked is optimised together."""
        ll_module.data_layout = self._codegen._data_layout


class PartLibrary(_Library):
    """LLVM's code of a function that is linked into kernels, and never runs by itself: what it calls is linked beside it."""

    @property
    def codegen(self) -> Any:
        return _Quiet(self._codegen)

    def get_pointer_to_function(self, name: str) -> int:
        """None: there is no machine code."""
        self._ensure_finalized()
        return 0

    def _optimize_functions(self, ll_module: Any) -> None:
        """Little: each kernel that a part belongs to is optimised whole.

        Variables go from the stack to registers, and loops get the form that a kernel's passes know. With nothing done, loops
        around large tiles are slower; to optimise a part as a kernel is takes a sixth of the time to compile.
        """
        super()._optimize_functions(ll_module)
        builder = self._codegen._pass_builder(opt=1, loop_vectorize=False, slp_vectorize=False)
        manager = create_new_module_pass_manager()
        manager.add_sroa_pass()
        manager.add_instruction_combine_pass()
        manager.add_simplify_cfg_pass()
        manager.add_loop_rotate_pass()
        manager.add_jump_threading_pass()
        with self._recorded_timings.record("Module passes of a part", builder):
            manager.run(ll_module, builder)

    def finalize(self) -> None:
        """Make the code one that may be linked into several kernels."""
        for function in self._final_module.functions:
            if not function.is_declaration:
                function.linkage = "linkonce_odr"
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """The code with all that it calls."""
        self._ensure_finalized()
        if self._shared_module is None:
            self._shared_module = self._final_module.clone()
            for library in with_their_parts(self._linking_libraries):
                self._shared_module.link_in(library._get_module_for_linking(), preserve=True)
        return self._shared_module


class _Alone:
    """A part without what it calls."""

    def __init__(self, part: PartLibrary) -> None:
        self._reload_init = getattr(part, "_reload_init", ())  # which older releases of Numba have not
        self._module = part._final_module

    def _get_module_for_linking(self) -> Any:
        return self._module


def with_their_parts(libraries: list[Any]) -> list[Any]:
    """What is linked where `libraries` are called: they, and of parts all that they call, each once and behind all its callers.

    LLVM links of a part what is called in the code so far, and drops the rest: what a part calls may have been found by another
    one first, whose own call was simplified away.
    """
    found: dict[Any, None] = {}

    def visit(library: Any) -> None:
        if library not in found:
            for called in reversed(library._linking_libraries) if isinstance(library, PartLibrary) else ():
                visit(called)
            found[library] = None

    for library in reversed(libraries):
        visit(library)
    return [_Alone(one) if isinstance(one, PartLibrary) else one for one in reversed(found)]


class KernelLibrary(_Library):
    """LLVM's code of a kernel, with all its parts."""

    def finalize(self) -> None:
        """Link every part once, optimise, and make machine code."""
        self._linking_libraries = with_their_parts(self._linking_libraries)
        super().finalize()

    def _optimize_final_module(self) -> None:
        """Once: Numba optimises twice, to find counts of references that cancel out, of which kernels have none inside."""
        manager, builder = self._codegen._module_pass_manager()
        with self._recorded_timings.record("Module passes of a kernel", builder):
            manager.run(self._final_module, builder)
