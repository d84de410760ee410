"""NamedTuples made in one step: of an array of integers, and of pointers to the parts of new memory.

Numba would compile the same from Python's constructors and indices, in a tenth of a second more for each class.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.types import BYTES, I64, Pointer, element_of, held

LINE = 64  # bytes of a cache line


def reader_of(result: Any) -> Any:
    """The function that builds a NamedTuple of int64, or of NamedTuples of them, from the int64 array that holds it.

    `result` is its Numba type.
    """

    def built(context: Any, builder: Any, kind: Any, data: Any, places: Iterator[int]) -> Any:
        if kind == types.int64:
            return builder.load(cgutils.gep(builder, data, next(places)))
        inner = [built(context, builder, one, data, places) for one in kind.types]
        return context.make_tuple(builder, kind, inner)

    @intrinsic
    def read(context: Any, sizes: Any) -> Any:
        """The sizes by name."""
        if sizes.dtype != types.int64:
            return None

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return built(context, builder, result, context.make_array(sizes)(context, builder, args[0]).data, count())

        return result(sizes), generate

    return read


def carver_of(kind: Any) -> Any:
    """The function carve(parts, like): (pointers by the names of `kind`, the uninitialised array that they point into).

    `parts` says how many elements each part has, of the type that registers have for those of `like`. A part begins a cache
    line, and no other part shares its last one.
    """

    @intrinsic
    def carve(context: Any, parts: Any, like: Any) -> Any:
        """Memory for the parts."""
        dtype = held(element_of(like.dtype))
        pointers, array = types.NamedUniTuple(Pointer(dtype), len(kind._fields), kind), types.Array(dtype, 1, "C")

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            from numba.np.arrayobj import populate_array  # which takes time to load, and compilers alone need

            size, line = I64(BYTES[dtype]), I64(LINE)
            total, begins = line, []  # a line more: memory may begin anywhere
            for i, found in enumerate(parts.types):
                begins.append(builder.sub(total, line))
                elements = context.cast(builder, builder.extract_value(args[0], i), found, types.intp)
                total = builder.add(total, upwards(builder, builder.mul(elements, size)))
            held_by = context.nrt.meminfo_alloc_aligned(builder, total, LINE)
            data = context.nrt.meminfo_data(builder, held_by)
            first = upwards(builder, builder.ptrtoint(data, I64))
            made = context.make_array(array)(context, builder)
            data = builder.bitcast(data, context.get_data_type(dtype).as_pointer())
            populate_array(made, data=data, shape=[builder.sdiv(total, size)], strides=[size], itemsize=size, meminfo=held_by)
            named = context.make_tuple(builder, pointers, [builder.add(first, begin) for begin in begins])
            return context.make_tuple(builder, signature.return_type, [named, made._getvalue()])

        return types.Tuple((pointers, array))(parts, like), generate

    return carve


def upwards(builder: Any, bytes_: Any) -> Any:
    """The next multiple of a cache line."""
    return builder.and_(builder.add(bytes_, I64(LINE - 1)), I64(-LINE))
