"""From Numba's typed code to LLVM's: what no kernel has is not written, rather than written and found dead.

Numba counts references. Of pointers, registers, numbers and records of them there are none to count, and most of what it writes
for its counting looks through their fields: a third of the code of a kernel, which Python builds and prints, and LLVM reads.
"""

from typing import Any

from numba import types
from numba.core import cgutils, ir
from numba.core.compiler_machinery import register_pass
from numba.core.ir_utils import build_definitions, get_definition, guard
from numba.core.lowering import Lower
from numba.core.ssa import reconstruct_ssa
from numba.core.typed_passes import BaseNativeLowering, PreLowerStripPhis
from numba.core.untyped_passes import ReconstructSSA


class _Lower(Lower):  # type: ignore[misc]
    """Numba's lowering, which counts the references of what has some, and types no operator again."""

    def counts(self, kind: Any) -> bool:
        """Whether values of a type have references that are counted."""
        return bool(self.context.data_model_manager[kind].contains_nrt_meminfo())

    def incref(self, typ: Any, val: Any) -> None:
        """One reference more, where they are counted."""
        if self.counts(typ):
            super().incref(typ, val)

    def decref(self, typ: Any, val: Any) -> None:
        """One reference less, where they are counted."""
        if self.counts(typ):
            super().decref(typ, val)

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        """Store a variable. One that holds no references is not looked at before."""
        if name in self._singly_assigned_vars or self.counts(self.typeof(name)):
            super().storevar(value, name, argidx)
            return
        self._alloca_var(name, self.typeof(name))
        self.builder.store(value, self.getvar(name))

    def delvar(self, name: str) -> None:
        """Let a variable go. One that holds no references needs no clearing."""
        if self.counts(self.typeof(name)):
            super().delvar(name)
        elif name not in self._blk_local_varmap:
            self._singly_assigned_vars.discard(name)

    def lower_block(self, block: Any) -> None:
        """A run of instructions. Numba writes each out in words, for an error that a kernel never has."""
        self.pre_block(block)
        for instruction in block.body:
            self.loc = instruction.loc
            if isinstance(instruction, ir.Del):
                self.delvar(instruction.value)
            elif isinstance(instruction, ir.Assign):
                kind = self.typeof(instruction.target.name)
                self.storevar(self.lower_assign(kind, instruction), instruction.target.name)
            else:
                self.lower_inst(instruction)
        self.post_block(block)

    def lower_expr(self, resty: Any, expr: Any) -> Any:
        """An expression. A loop whose step is 1 needs no division to count its turns, and no error for a step of 0."""
        if expr.op == "getiter" and self.typeof(expr.value.name) == types.range_state64_type:
            made = guard(get_definition, self.func_ir, expr.value)
            is_call = isinstance(made, ir.Expr) and made.op == "call" and len(made.args) < 3
            if is_call and getattr(self.typeof(made.func.name), "typing_key", None) is range:
                return self.steps_of_one(resty, expr.value)
        return super().lower_expr(resty, expr)

    def steps_of_one(self, kind: Any, value: Any) -> Any:
        """An iterator over a range of steps of 1."""
        builder, zero = self.builder, self.context.get_constant(types.int64, 0)
        steps = self.context.make_helper(builder, types.range_state64_type, value=self.loadvar(value.name))
        found = self.context.make_helper(builder, kind)
        ahead = builder.sub(steps.stop, steps.start)
        count = builder.select(builder.icmp_signed(">", ahead, zero), ahead, zero)
        found.iter = cgutils.alloca_once_value(builder, steps.start)
        found.count = cgutils.alloca_once_value(builder, count)
        found.stop, found.step = steps.stop, self.context.get_constant(types.int64, 1)
        return found._getvalue()

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        """An operator, by the signature that typing found."""
        is_static = expr.static_lhs is not ir.UNDEFINED or expr.static_rhs is not ir.UNDEFINED
        if is_static or expr.op != "binop":  # an operator in place is typed as another than it is lowered as
            return super().lower_binop(resty, expr, op)
        context, builder, signature = self.context, self.builder, self.fndesc.calltypes[expr]
        found = context.get_function(context.typing_context.resolve_value_type(op), signature)
        operands = [
            context.cast(builder, self.loadvar(one.name), self.typeof(one.name), kind)
            for one, kind in zip((expr.lhs, expr.rhs), signature.args, strict=True)
        ]
        return context.cast(builder, found(builder, operands), signature.return_type, resty)


@register_pass(mutates_CFG=True, analysis_only=False)
class Lowering(BaseNativeLowering):  # type: ignore[misc]
    """The pass of a pipeline."""

    _name = "native_lowering_of_kernels"

    @property
    def lowering_class(self) -> Any:
        """What does it."""
        return _Lower


@register_pass(mutates_CFG=True, analysis_only=False)
class SingleAssignment(ReconstructSSA):  # type: ignore[misc]
    """Numba's pass, which does not work out where variables live: the pass before lowering does."""

    _name = "single_assignment_of_kernels"

    def run_pass(self, state: Any) -> bool:
        """Make each variable one that is assigned once."""
        state.func_ir = reconstruct_ssa(state.func_ir)
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return True


@register_pass(mutates_CFG=False, analysis_only=False)
class PhiStripping(PreLowerStripPhis):  # type: ignore[misc]
    """Numba's pass, which does not work out where variables live: the pass before lowering does."""

    _name = "phi_stripping_of_kernels"

    def run_pass(self, state: Any) -> bool:
        """Turn what flows together into assignments."""
        state.func_ir = self._strip_phi_nodes(state.func_ir)
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        return True
