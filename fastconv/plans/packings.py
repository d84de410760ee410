"""Weights that functions packed before: a call with equal ones, byte for byte, packs nothing and decides nothing.

first call -> their bytes are noted; second -> what they were packed into is kept; third and on -> it is found

Weights that change from call to call cost a copy, and after TIRED calls that found nothing only every so often. What is kept is
packed from a copy where it would lie in a caller's memory. Weights that take longer to compare than to pack are not looked for.
A plan that the values of weights decide nothing of is found anyway.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.keeping import ENTRY, Kept, grown
from fastconv.machine import host
from fastconv.plans.kinds import ConvPlan
from fastconv.problem.convolutions import Array

MOST = 256 << 10  # bytes of weights: to compare more costs as much as to pack it
SEVERAL = 4  # weights of one geometry
PACKED, COMPARED = 2e-6, 5e-11  # seconds beside the packing itself, and of a byte that is compared
FLOATS = frozenset(map(np.dtype, "fd"))
TIRED = 8  # calls in a row that found nothing, after which one in so many is noted


class Packing(NamedTuple):
    """Weights of a call.

    Attributes
    ----------
    choices : object
        The operation's implementations, of which one was chosen.
    w, bias : bytearray, bytes
        What came; no bias is None.
    bias_dtype : numpy.dtype or None
    size : int
        Bytes of all that is kept here.
    plan : ConvPlan or None
        The plan of the call; None where the weights came once.
    packed : object
        Weights as the implementation takes them.
    """

    choices: Any
    w: bytearray
    bias: bytes | None
    bias_dtype: np.dtype[Any] | None
    size: int
    plan: ConvPlan | None = None
    packed: Any = None


class Decided(NamedTuple):
    """The plan for all weights, which is of one of the operation's implementations.

    Attributes
    ----------
    choices : object
        Those, of which it was chosen.
    plan : ConvPlan
    taken : numpy.dtype or None
        Of x, where the plan takes arrays in C order as they are.
    compares : bool
        Whether equal weights are looked for: not where it takes longer than to pack them.
    no_bias : array
        Zeros for a call without one, which nothing writes into.
    drafts : tuple or None
        Launches without weights, each with run(x, w, bias, y), where they are all that a call on plain arrays makes.
    """

    choices: Any
    plan: ConvPlan
    taken: np.dtype[Any] | None
    compares: bool
    no_bias: Array
    drafts: tuple[Any, ...] | None


class Known:
    """What is known of calls with the same arguments.

    Attributes
    ----------
    packings : tuple of Packing
        The newest first.
    decided : Decided or None
        Set at once: threads share it.
    missed : int
        Calls in a row whose weights were not found.
    """

    __slots__ = ("decided", "missed", "packings")

    def __init__(self) -> None:
        self.packings: tuple[Packing, ...] = ()
        self.decided: Decided | None = None
        self.missed = 0


_packings = Kept(lambda known: ENTRY + sum(one.size for one in known.packings))


def may_be_compared(w: Array) -> bool:
    """Whether weights are kept, and looked for among those that are."""
    return w.nbytes <= MOST and w.flags.c_contiguous


def compares(plan: ConvPlan, w: Array) -> bool:
    """Whether to find equal weights takes less time than to pack these: some implementations read them where they lie.

    Those too large to be kept are not.
    """
    if w.nbytes > MOST:
        return False
    if plan.form.phases is not None or w.dtype != plan.weights_dtype:
        return True
    return PACKED + plan.implementation.pack_cost(plan.served, host()) > COMPARED * w.nbytes


def decided(choices: Any, plan: ConvPlan, w: Array, no_bias: Array) -> Decided:
    """The plan for all weights, with what calls of arrays that it takes as they are need of it."""
    ask, seen = plan.implementation.drafts, plan.served
    plain = plan.takes_as_is and plan.form.woven is None and seen.types.uniform and seen.dtype in FLOATS and not seen.residual
    taken = plan.dtype if plan.takes_as_is else None
    return Decided(choices, plan, taken, compares(plan, w), no_bias, ask(seen, host()) if ask is not None and plain else None)


def met(key: Any) -> Known | None:
    """What is known of calls with the same arguments, if there were any."""
    known: Known | None = _packings.get(key) or _packings.found(key)
    return known


def known_of(key: Any) -> Known:
    """What is known of calls with the same arguments; little, where this is the first."""
    known = met(key)
    if known is None:
        known = Known()
        _packings.keep(key, known)
    return known


def found(known: Known, choices: Any, w: Array, bias: Any) -> Packing | None:
    """The packing of equal weights; of weights that always change only the newest one is compared."""
    for one in known.packings if known.missed <= TIRED else known.packings[:1]:
        # A bytearray compares with any buffer, by memcmp.
        if one.w == w and one.choices is choices and (bias is None if one.bias is None else is_bias(one, bias)):
            known.missed = 0
            return one
    known.missed += 1
    return None


def is_bias(one: Packing, bias: Any) -> bool:
    """Whether a bias is that of a packing."""
    return bias is not None and bias.dtype == one.bias_dtype and bias.ndim == 1 and bias.tobytes() == one.bias


def arrays_in(packed: Any) -> list[Array]:
    """All arrays of what was packed, those in tuples of tuples too."""
    arrays, left = [], [packed]
    for one in left:
        if type(one) is np.ndarray:
            arrays.append(one)
        elif isinstance(one, tuple):
            left.extend(one)
    return arrays


def note(known: Known, choices: Any, w: Array, bias: Any) -> None:
    """Note the weights of a call, which were not found; the oldest of several go for them."""
    if known.missed > TIRED and known.missed % TIRED:
        return
    copy, size = bytearray(w), ENTRY + w.nbytes  # type: ignore[arg-type]
    values, dtype = (None, None) if bias is None else (bias.tobytes(), bias.dtype)
    known.packings = (Packing(choices, copy, values, dtype, size), *known.packings[: SEVERAL - 1])
    grown(size)


def keep(known: Known, one: Packing, w: Array, plan: ConvPlan, packed: Any, pack: Callable[[Array], Any]) -> None:
    """Keep what the weights of a call were packed into, or what pack(a copy of them) gives."""
    arrays = arrays_in(packed)
    if any(np.may_share_memory(array, w) for array in arrays):  # which the caller may write into
        packed = pack(np.frombuffer(one.w, w.dtype).reshape(w.shape))
    size = sum(array.nbytes for array in arrays)
    made = one._replace(plan=replace(plan, packed=packed), packed=packed, size=one.size + size)
    known.packings = tuple(made if each is one else each for each in known.packings)
    grown(size)
