"""Words of memory that threads share, calls by address, and how a thread naps.

A word is an int64 at an address, which is an int as well. Every operation is sequentially consistent: a thread that finds what
another one wrote finds all that it wrote before.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import RETCODE_NONE, RETCODE_OK
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.types import I64

ORDER = "seq_cst"
WORD = types.int64
C_ARGUMENTS = 7  # of the longest call: a system call's number and its six


def at(builder: Any, address: Any) -> Any:
    """LLVM's pointer to a word."""
    return builder.inttoptr(address, I64.as_pointer())


@intrinsic
def added(context: Any, word: Any, value: Any) -> Any:
    """What a word was before `value` was added to it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", at(builder, args[0]), args[1], ORDER)

    return WORD(WORD, WORD), generate


@intrinsic
def exchanged(context: Any, word: Any, value: Any) -> Any:
    """What a word was before it became `value`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", at(builder, args[0]), args[1], ORDER)

    return WORD(WORD, WORD), generate


@intrinsic
def loaded(context: Any, word: Any) -> Any:
    """What a word is."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(at(builder, args[0]), ORDER, 8)

    return WORD(WORD), generate


@intrinsic
def pause(context: Any) -> Any:
    """Some ten to a hundred cycles in which the processor does little, as in a loop that waits for a word to change."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        triple, kind = str(builder.module.triple), ir.FunctionType(ir.VoidType(), [])
        if triple.startswith(("x86", "i686")):
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        elif triple.startswith(("aarch64", "arm64")):
            builder.asm(kind, "isb", "~{memory}", [], True)  # longer than yield, which most processors ignore
        else:
            builder.fence(ORDER)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def c_call(context: Any, function: Any, arguments: Any) -> Any:
    """What the C function at an address returns for integers, which it may take as narrower ones or as pointers."""
    if len(arguments) > C_ARGUMENTS:
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(I64, [I64] * len(arguments))
        values = [builder.extract_value(args[1], i) for i in range(len(arguments))]
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), values)

    return WORD(WORD, types.UniTuple(WORD, len(arguments))), generate


# Kernels by address -----------------------------------------------------------------------------------------------------
# Any kernel(begin, end, *arguments) is called through a small function of its own, adapter(arguments, kernel, begin, end),
# which finds the arguments at an address: so one compiled loop runs kernels of all types.

ADAPTER = ir.FunctionType(I64, [I64] * 4)


def fails(context: Any, builder: Any, kernel: Any, kinds: Any, values: Any) -> Any:
    """1 if the kernel at an address raises for arguments of these types, else 0."""
    kind = context.call_conv.get_function_type(types.none, kinds)
    result = cgutils.alloca_once(builder, context.call_conv.get_return_type(types.none).pointee)
    raised = cgutils.alloca_once_value(builder, cgutils.get_null_value(kind.args[1].pointee))
    packed = context.get_arg_packer(kinds).as_arguments(builder, values)
    code = builder.call(builder.inttoptr(kernel, kind.as_pointer()), [result, raised, *packed])
    fine = builder.or_(builder.icmp_signed("==", code, RETCODE_OK), builder.icmp_signed("==", code, RETCODE_NONE))
    return builder.zext(builder.not_(fine), I64)


@intrinsic
def failed(context: Any, kernel: Any, begin: Any, end: Any, arguments: Any) -> Any:
    """1 if the kernel at an address raises for (begin, end, *arguments), else 0."""
    kinds = (WORD, WORD, *arguments.types)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fields = [builder.extract_value(args[3], i) for i in range(len(arguments.types))]
        return fails(context, builder, args[0], kinds, (args[1], args[2], *fields))

    return WORD(WORD, WORD, WORD, arguments), generate


def adapter_of(context: Any, module: Any, kinds: Any, stored: Any) -> Any:
    """The adapter for arguments of these types, which lie in memory as one structure."""
    function = ir.Function(module, ADAPTER, module.get_unique_name("adapter"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    where, kernel, begin, end = function.args
    values = builder.load(builder.inttoptr(where, stored.as_pointer()), typ=stored)
    fields = [builder.extract_value(values, i) for i in range(len(kinds))]
    builder.ret(fails(context, builder, kernel, (WORD, WORD, *kinds), (begin, end, *fields)))
    return function


@intrinsic
def laid_down(context: Any, arguments: Any) -> Any:
    """(address of the arguments, of their adapter): the arguments lie there until the calling function returns."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        slot = cgutils.alloca_once_value(builder, args[0])
        function = adapter_of(context, builder.module, arguments.types, args[0].type)
        pair = [builder.ptrtoint(slot, I64), builder.ptrtoint(function, I64)]
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(WORD, 2)(arguments), generate


@intrinsic
def room_of(context: Any, arguments: Any) -> Any:
    """The bytes that arguments take where they are laid down."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return I64(context.get_abi_sizeof(args[0].type))

    return WORD(arguments), generate


def unowned(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """A value whose arrays say nothing of who owns their memory: whoever keeps it keeps them alive by other means."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = (cgutils.get_null_value(one.type) for one in (array.meminfo, array.parent))
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for i, one in enumerate(kind.types):
            value = builder.insert_value(value, unowned(context, builder, one, builder.extract_value(value, i)), i)
    return value


@intrinsic
def laid_at(context: Any, where: Any, arguments: Any) -> Any:
    """The address of the arguments' adapter; they are laid down at an address, where there is room for them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = unowned(context, builder, arguments, args[1])
        builder.store(value, builder.inttoptr(args[0], value.type.as_pointer()))
        return builder.ptrtoint(adapter_of(context, builder.module, arguments.types, value.type), I64)

    return WORD(WORD, arguments), generate


@intrinsic
def adapter_failed(context: Any, adapter: Any, arguments: Any, kernel: Any, begin: Any, end: Any) -> Any:
    """1 if the kernel raises for begin, end and the arguments at an address, else 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(builder.inttoptr(args[0], ADAPTER.as_pointer()), args[1:])

    return WORD(WORD, WORD, WORD, WORD, WORD), generate
