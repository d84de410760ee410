"""What is compiled is the same whatever was compiled before."""

import numpy as np
import pytest
from numba import njit

from fastconv.kernels.compiling.functions import OPTIONS, compiled, inlined
from fastconv.kernels.compiling.libraries import PartLibrary, with_their_parts


def options_of(callers):
    """What tells the options of two functions, called from one another, that so many callers were compiled with, in order."""

    def smallest(x):
        return min(x[0], x[1])

    def product(x):
        return smallest(x) * x[0]

    def successor(x):
        return product(x) + 1.0

    smallest, product, successor = compiled(smallest), compiled(product), inlined(successor)
    called = {"product": njit(**OPTIONS)(lambda x: product(x)), "successor": njit(**OPTIONS)(lambda x: successor(x))}
    assert [called[name](np.array([3.0, 2.0])) for name in callers] == [{"product": 6.0, "successor": 7.0}[n] for n in callers]
    tags = [next(iter(one.overloads.values())).fndesc.abi_tags for one in (smallest, product)]
    if "successor" in callers:
        assert next(iter(successor.overloads.values())).fndesc.abi_tags != tags[1]
    return tags


@pytest.mark.parametrize("callers", [("successor",), ("product", "successor"), ("successor", "product")])
def test_a_function_is_inlined_only_where_it_says_so(callers):
    """Not because its first caller was: the code of a kernel would depend on what a process compiled before."""
    assert options_of(callers) == options_of(("product",))


def test_ranges_of_every_kind_have_the_turns_of_pythons():
    """Of one, two and three arguments, empty ones, downward, and one that another function made."""

    def made(begin, end):
        return range(begin, end, 2)

    made = compiled(made)

    def turns(begin, end, step):
        found = 0
        for i in range(end):
            found = 3 * found + i
        for i in range(begin, end):
            found = 3 * found + i
        for i in range(begin, end, step):
            found = 3 * found + i
        for i in made(begin, end):
            found = 3 * found + i
        return found

    def expected(begin, end, step):
        found = 0
        for i in (*range(end), *range(begin, end), *range(begin, end, step), *range(begin, end, 2)):
            found = 3 * found + i
        return found

    part = compiled(turns)
    called = njit(**OPTIONS)(lambda begin, end, step: part(begin, end, step))
    for case in [(0, 5, 1), (2, 5, 2), (5, 2, -1), (5, 2, 1), (-3, 3, 4), (0, 0, 3)]:
        assert called(*case) == expected(*case)


def part(*called):
    """A part that calls others."""
    found = object.__new__(PartLibrary)
    found._linking_libraries, found._final_module = list(called), object()
    return found


def test_a_part_is_linked_behind_all_that_call_it():
    """LLVM drops what nothing calls yet: the call of a first caller may have been simplified away, and others come later."""
    shared = part()
    third = part(shared)
    first, second = part(shared), part(third)
    whole = part(first, second)
    linked = [one._get_module_for_linking() for one in with_their_parts([whole])]
    order = [linked.index(one._final_module) for one in (whole, first, second, third, shared)]
    assert len(linked) == len(order)
    for caller, called in ((0, 1), (0, 2), (1, 4), (2, 3), (3, 4)):
        assert order[caller] < order[called]
