"""fastconv inside of numba.njit: convolutions, pools, activations and plans, called as they are from Python.

    import fastconv as fc

    @njit
    def edges(image, bank):
        return fc.relu(fc.conv2d(image, bank, padding=1))

Nothing has to be imported for it: Numba finds `init` by fastconv's entry point. A call is typed by the ranks and dtypes of its
arrays, boxes them, and calls the Python function with the GIL held; it costs what the call costs in Python and one or two
microseconds. Kernels run without the GIL. An error is the one that the function raises in Python; as with every error that is
raised in compiled code, Numba keeps what the function held.

A function that is compiled with ``parallel=True`` calls from threads that have no GIL, so it must be compiled with
``nogil=True`` too, else nobody would give it to them: a TypingError says so. Each of its calls uses one thread.

Examples
--------
>>> import numpy as np
>>> from numba import njit
>>> import fastconv as fc
>>> import fastconv.numba
>>> fastconv.numba.init()  # as Numba does by itself
>>> @njit
... def total(x, w):
...     return fc.conv1d(x, w, padding=1).sum()
>>> float(total(np.ones((1, 1, 4)), np.ones((1, 1, 3))))
10.0
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.core.targetconfig import ConfigStack
from numba.core.typing import signature
from numba.extending import NativeValue, intrinsic, lower_builtin, models, overload, register_model, typeof_impl, unbox
from numba.np.numpy_support import as_dtype, from_dtype

import fastconv as fc
from fastconv.kernels import threads
from fastconv.plans.kinds import IndicesPlan
from fastconv.plans.plan import Plan

__all__ = ["init"]

LAST = "residual=None, activation=None, layout=None, out=None"
CONVOLUTION = f"x, w, bias=None, stride=1, padding=0, dilation=1, groups=1, {LAST}"
TRANSPOSED = f"x, w, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, {LAST}"
ORDER = "x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, layout=None, out=None"
MEAN = (
    "x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, dilation=1, "
    "layout=None, out=None"
)
NORM = "x, norm_type, kernel_size, stride=None, ceil_mode=False, padding=0, dilation=1, layout=None, out=None"
MEDIAN = "x, kernel_size, stride=None, padding=0, dilation=1, layout=None, out=None"
SIGNATURES: dict[str, tuple[int, str]] = {
    **{f"conv{rank}d": (rank, CONVOLUTION) for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": (rank, TRANSPOSED) for rank in (1, 2, 3)},
    **{f"{kind}_pool{rank}d": (rank, ORDER) for kind in ("max", "min") for rank in (1, 2, 3)},
    **{f"median_pool{rank}d": (rank, MEDIAN) for rank in (1, 2, 3)},
    **{f"rank_pool{rank}d": (rank, MEDIAN.replace("x,", "x, rank,")) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": (rank, MEAN) for rank in (1, 2, 3)},
    **{f"lp_pool{rank}d": (rank, NORM) for rank in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{n}d": (n, "x, output_size, layout=None, out=None") for kind in ("avg", "max") for n in (1, 2, 3)},
    **dict.fromkeys(("global_avg_pool", "global_max_pool"), (0, "x, layout=None, out=None")),
    **dict.fromkeys(("relu", "relu6", "silu", "hardswish", "gelu"), (0, "x, out=None")),
    "leaky_relu": (0, "x, negative_slope=0.01, out=None"),
    "clip": (0, "x, low, high, out=None"),
}


class Call:
    """A Python function that takes the arguments of a compiled call, all by position."""

    def __init__(self, name: str, names: tuple[str, ...], alone: bool) -> None:
        self.name, self.names, self.alone = name, names, alone
        self.operation = getattr(fc, name)
        self.places = sum(one in self.operation.places or one in ("x", "w") for one in names)

    def __call__(self, *values: Any) -> Any:
        """The result; nothing is passed for None, which every option has by default."""
        places = self.places
        options = {name: value for name, value in zip(self.names[places:], values[places:], strict=True) if value is not None}
        if self.alone:
            with threads.at_most(1):
                return self.operation(*values[:places], **options)
        return self.operation(*values[:places], **options)

    def __reduce__(self) -> Any:
        return Call, (self.name, self.names, self.alone)


def plan_call(plan: Plan, *arrays: Any) -> Any:
    """A call of a plan."""
    return plan(*arrays)


def plan_call_alone(plan: Plan, *arrays: Any) -> Any:
    """A call of a plan on one thread."""
    with threads.at_most(1):
        return plan(*arrays)


def in_parallel(name: str) -> bool:
    """Whether the function that is being compiled is a parallel one, which must release the GIL."""
    flags = ConfigStack.top_or_none()
    parallel = flags is not None and bool(flags.auto_parallel.enabled)
    if parallel and not flags.release_gil:
        raise TypingError(
            f"{name} in a function with parallel=True takes the GIL, which that function holds: compile it with nogil=True too"
        )
    return parallel


def boxed_call(context: Any, builder: Any, function: Any, kinds: Any, values: Any, result: Any) -> Any:
    """Native code that calls a Python function with boxed values, and unboxes an array."""
    pyapi = context.get_python_api(builder)
    gil = pyapi.gil_ensure()
    manager = context.get_env_manager(builder)
    callee = manager.read_const(manager.add_const(function))
    objects = []
    for kind, value in zip(kinds, values, strict=True):
        if kind is None:  # an object already
            pyapi.incref(value)
            objects.append(value)
            continue
        if context.enable_nrt:
            context.nrt.incref(builder, kind, value)
        objects.append(pyapi.from_native_value(kind, value, manager))
    answer = pyapi.call_function_objargs(callee, objects)
    for one in objects:
        pyapi.decref(one)
    with builder.if_then(builder.icmp_unsigned("==", answer, pyapi.get_null_object()), likely=False):
        pyapi.gil_release(gil)
        context.call_conv.return_exc(builder)
    native = pyapi.to_native_value(result, answer)
    pyapi.decref(answer)
    pyapi.gil_release(gil)
    with builder.if_then(native.is_error, likely=False):
        context.call_conv.return_exc(builder)
    return native.value


def bridge(function: Call, result: types.Type) -> Any:
    """An intrinsic that calls a Python function with the entries of a tuple."""

    @intrinsic  # type: ignore[untyped-decorator]
    def call(typing: Any, arguments: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kinds = list(sig.args[0])
            values = [builder.extract_value(args[0], place) for place in range(len(kinds))]
            return boxed_call(context, builder, function, kinds, values, result)

        return signature(result, arguments), generate

    return call


def is_given(value: Any) -> bool:
    """Whether an argument of a call is there, and is not None."""
    return not (value is None or isinstance(value, (types.NoneType, types.Omitted)))


def result_of(name: str, rank: int, given: dict[str, Any]) -> types.Array:
    """The type of a call's result: an array in C order, or `out`."""
    x, w, out = given["x"], given.get("w"), given.get("out")
    for argument, value in (("x", x), ("w", w), ("out", out)):
        if (is_given(value) or argument == "x") and not isinstance(value, types.Array):
            raise TypingError(f"{argument} of {name} must be an array, got {value}")
    if rank and x.ndim not in (rank + 1, rank + 2):
        raise TypingError(f"x of {name} must have {rank + 2} axes, or {rank + 1} without the batch, got {x}")
    if is_given(out):
        return out
    dtype = x.dtype if w is None else from_dtype(np.result_type(as_dtype(x.dtype), as_dtype(w.dtype)))
    return types.Array(dtype, x.ndim, "C")


def register(name: str, rank: int, parameters: str) -> None:
    """Teach Numba an operation."""
    names = tuple(one.split("=")[0].strip() for one in parameters.split(","))

    def implementation(*arguments: Any) -> Any:
        given = dict(zip(names, arguments, strict=True))
        call = bridge(Call(name, names, in_parallel(name)), result_of(name, rank, given))
        scope: dict[str, Any] = {"call": call}
        exec(f"def {name}({parameters}):\n    return call(({', '.join(names)},))\n", scope)
        return scope[name]

    scope: dict[str, Any] = {"implementation": implementation}
    exec(f"def {name}({parameters}):\n    return implementation({', '.join(names)})\n", scope)
    overload(getattr(fc, name), strict=False)(scope[name])


# Plans ----------------------------------------------------------------------------------------------------------------


class PlanType(types.Callable, types.Opaque):  # type: ignore[misc]
    """A plan, as Numba types it: by what it takes and gives."""

    def __init__(self, operands: tuple[tuple[int, Any], ...], result: types.Array) -> None:
        self.operands, self.result = operands, result
        super().__init__(name=f"fastconv.Plan({operands} -> {result})")

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """The signature of a call with these arrays, the last of which may be `out`."""
        if kws:
            raise TypingError("a plan in compiled code takes its arrays by position")
        several = len(self.operands)
        if len(args) not in (several, several + 1) or not all(isinstance(one, types.Array) for one in args):
            raise TypingError(f"a plan of {several} operands takes {several} arrays, and out, got {args}")
        in_parallel("a plan's call")
        return signature(args[several] if len(args) > several else self.result, *args, recvr=self)

    def get_call_signatures(self) -> Any:
        """None in particular."""
        return (), False

    def get_impl_key(self, sig: Any) -> Any:
        """What lowers a call."""
        return type(self)


class _PlanModel(models.OpaqueModel):  # type: ignore[misc]
    """A pointer to the Python object, which outlives the call."""


_held: list[Plan] = []  # plans whose addresses compiled code knows


def type_of_plan(plan: Plan, context: Any) -> Any:
    """The type of a plan; None of one that gives two arrays."""
    if isinstance(plan, IndicesPlan):
        return None
    operands = tuple((len(one.shape), from_dtype(one.dtype)) for one in plan.operands)
    return PlanType(operands, types.Array(from_dtype(plan.out_dtype), len(plan.out_shape), "C"))


def call_plan(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """A plan's call."""
    flags = ConfigStack.top_or_none()
    alone = flags is not None and bool(flags.auto_parallel.enabled)
    function = plan_call_alone if alone else plan_call
    return boxed_call(context, builder, function, (None, *sig.args[1:]), args, sig.return_type)


def constant_plan(context: Any, builder: Any, kind: Any, plan: Plan) -> Any:
    """A plan that a function closes over."""
    _held.append(plan)
    return context.add_dynamic_addr(builder, id(plan), info="plan")


def unbox_plan(kind: Any, plan: Any, c: Any) -> NativeValue:
    """A plan that is an argument."""
    return NativeValue(plan)


_done: list[Callable[[], None]] = []


def init() -> None:
    """Teach Numba fastconv's functions and plans; Numba calls it once, before it compiles anything.

    Examples
    --------
    >>> import fastconv.numba
    >>> fastconv.numba.init()
    """
    if _done:
        return
    _done.append(init)
    for name, (rank, parameters) in SIGNATURES.items():
        register(name, rank, parameters)
    register_model(PlanType)(_PlanModel)
    typeof_impl.register(Plan)(type_of_plan)
    lower_builtin(PlanType, types.VarArg(types.Any))(call_plan)
    lower_constant(PlanType)(constant_plan)
    unbox(PlanType)(unbox_plan)
