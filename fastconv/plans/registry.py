"""Every implementation of every operation: one ordered list an operation, best first, reference last.

The lists are in families/. An entry there is in the tests, the comparison table and the benchmarks, with nothing more to write.
A family is imported when it is first asked for: its kernels take time to load.
"""

import threading
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fastconv.machine import Machine
from fastconv.plans.errors import LOCAL, Error
from fastconv.problem.problem import Problem


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operation.

    Attributes
    ----------
    name, summary : str
        What users call it, and one line of what it does.
    run : callable
        run(operands, packed, problem, out) writes all of `out`. Arrays are in C order and, unless `reads` says otherwise, of
        the dtype that sums are made in.
    cost : callable
        cost(problem, machine) -> the seconds that it is expected to take on one thread.
    supports : callable
        supports(problem) -> None, or the reason why not.
    pack : callable or None
        pack(w, bias, problem) -> what `run` takes as `packed`; None for operations without weights.
    weigh : callable or None
        weigh(w, problem, machine) -> the cost for these weights, where it depends on them; for None, the least.
    pack_cost : callable
        pack_cost(problem, machine) -> the seconds that `pack` is expected to take.
    reads : callable
        reads(problem) -> whether `run` takes arrays as they are stored, and writes the result's dtype.
    converts : callable
        converts(problem) -> those of "x" and "y" that `run` takes as they are stored, converting as it reads or writes them;
        its weights have the dtype of the sums.
    fuses : callable
        fuses(problem) -> whether `run` adds the residual and applies the activation; else a pass of its own does so.
    least : callable or None
        least(problem, machine) -> seconds that the cost is not below, found at once, where the cost takes a search.
    kernel : callable or None
        kernel(problem, machine) -> the name of the compiled kernel that runs, where there are several.
    growth : callable
        growth(problem, machine) -> how many times the bytes of the weights a call reads of them, packed.
    adds_in_place : callable
        adds_in_place(problem) -> whether `run` may be given an empty residual, which says that `out` holds it.
    calls : callable or None
        calls(operands, packed, problem, out) -> the calls of kernels that are all that `run` does, or None where it does more.
    drafts : callable or None
        drafts(problem, machine) -> the launches, without weights, that are all that `pack` and `run` make of floats of one
        dtype where nothing is added to the sums, each with run(x, w, bias, y); None where there is more to it.
    error : Error
        The bound of its rounding.
    once : Implementation or None
        What stands for it where a call packs weights for itself and one that packs less may take less time in all.
    """

    name: str
    summary: str
    run: Callable[[Any, Any, Problem, Any], None]
    cost: Callable[[Problem, Machine], float]
    supports: Callable[[Problem], str | None] = lambda problem: None
    pack: Callable[[Any, Any, Problem], Any] | None = None
    weigh: Callable[[Any, Problem, Machine], float] | None = None
    pack_cost: Callable[[Problem, Machine], float] = lambda problem, machine: 0.0
    reads: Callable[[Problem], bool] = lambda problem: False
    converts: Callable[[Problem], frozenset[str]] = lambda problem: frozenset()
    fuses: Callable[[Problem], bool] = lambda problem: True
    least: Callable[[Problem, Machine], float] | None = None
    kernel: Callable[[Problem, Machine], str] | None = None
    growth: Callable[[Problem, Machine], float] = lambda problem, machine: 1.0
    adds_in_place: Callable[[Problem], bool] = lambda problem: False
    calls: Callable[[Any, Any, Problem, Any], tuple[Any, ...] | None] | None = None
    drafts: Callable[[Problem, Machine], tuple[Any, ...] | None] | None = None
    error: Error = LOCAL
    once: "Implementation | None" = None


HOMES = {
    **dict.fromkeys(("conv", "conv_transpose"), "convolutions"),
    **dict.fromkeys(("conv_weight", "max_pool_input", "avg_pool_input", "lp_pool_input"), "gradients"),
    **dict.fromkeys(("max_pool", "min_pool", "avg_pool", "lp_pool", "rank_pool"), "pools"),
    **dict.fromkeys(("adaptive_avg_pool", "adaptive_max_pool", "max_unpool"), "pools"),
    **dict.fromkeys(("unfold", "fold", "activation"), "elements"),
}  # the module of each operation's list


class Operations(dict[str, tuple[Implementation, ...]]):
    """The lists by operation, as a dict has them; those of a module come when one of them is first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()

    def __missing__(self, name: str) -> tuple[Implementation, ...]:
        if name not in HOMES:
            raise KeyError(name)
        with self.lock:
            lists = import_module(f"fastconv.plans.families.{HOMES[name]}").FAMILIES
            found: tuple[Implementation, ...] = self.setdefault(name, lists[name])
            return found

    def __contains__(self, name: object) -> bool:
        return name in HOMES or super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*HOMES, *super().__iter__()]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def get(self, name: str, default: Any = None) -> Any:
        """The list of an operation, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def keys(self) -> Any:
        """All operations."""
        return KeysView(self)

    def values(self) -> Any:
        """The lists of all."""
        return ValuesView(self)

    def items(self) -> Any:
        """(operation, list) of all."""
        return ItemsView(self)


OPERATIONS = Operations()
