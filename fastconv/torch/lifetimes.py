"""Which values of a traced graph may share memory: each is kept from the node that makes it to the last one that reads it.

    values, in order -> roots (results that fastconv writes), aliases of them, how long each is read -> slots

Nothing here runs a graph. Values were recorded in one run of it, and aliases are seen by their storage.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import fx

Recorded = dict[fx.Node, Any]


class Slots(NamedTuple):
    """Where values are written.

    Attributes
    ----------
    of : dict of Node to int
        The buffer of each value that has one.
    sizes : tuple of int
        Bytes of each buffer.
    values : int
        Bytes of all values together, each by itself.
    """

    of: dict[fx.Node, int]
    sizes: tuple[int, ...]
    values: int


def tensors_of(value: Any) -> list[torch.Tensor]:
    """The tensors in a value."""
    return [one for one in torch.utils._pytree.tree_leaves(value) if isinstance(one, torch.Tensor)]


def storages(value: Any) -> set[int]:
    """Where the tensors in a value lie."""
    return {one.untyped_storage().data_ptr() for one in tensors_of(value) if one.layout is torch.strided}


def last_uses(roots: Iterable[fx.Node], recorded: Recorded, keepers: set[fx.Node]) -> dict[fx.Node, int]:
    """The place of the last node that reads each root or a view of it; roots that a keeper sees are left out.

    Parameters
    ----------
    roots : iterable of Node
        Whose results may be written into buffers.
    recorded : dict
        The value of every node of the graph, all of one run and all alive.
    keepers : set of Node
        Nodes that may keep what they read: the graph's output, and functions that nothing is known of.
    """
    places = {node: place for place, node in enumerate(recorded)}
    owners = {storage: root for root in roots for storage in storages(recorded[root])}
    found: dict[fx.Node, int] = dict.fromkeys(owners.values(), 0)
    kept: set[fx.Node] = set()
    for node, value in recorded.items():
        for root in {owners[storage] for storage in storages(value) if storage in owners}:
            found[root] = max([found[root], places[node], *(places[user] for user in node.users)])
            if not keepers.isdisjoint(node.users):
                kept.add(root)
    return {root: last for root, last in found.items() if root not in kept}


def fitting(size: int, sizes: list[int], free: list[int]) -> int:
    """A buffer for so many bytes: of those that are free, else a new one."""
    found = [slot for slot in reversed(free) if sizes[slot] >= size] or free[-1:]
    if not found:
        sizes.append(size)
        return len(sizes) - 1
    free.remove(found[0])
    sizes[found[0]] = max(sizes[found[0]], size)
    return found[0]


def assigned(last: dict[fx.Node, int], recorded: Recorded, over: dict[fx.Node, fx.Node]) -> Slots:
    """Buffers for values: the one that was left last, which the caches still hold, where it is large enough; else it grows.

    `over` tells of results those values, not read later, that they may be written over.
    """
    sizes: list[int] = []
    free: list[int] = []
    of: dict[fx.Node, int] = {}
    ends: dict[int, list[int]] = {}
    total = 0
    for place, (node, value) in enumerate(recorded.items()):
        if node in last:
            (tensor,) = tensors_of(value)
            size = tensor.numel() * tensor.element_size()
            total += size
            if node in over:
                slot = of[over[node]]
                ends[place].remove(slot)
            else:
                slot = fitting(size, sizes, free)
            of[node] = slot
            ends.setdefault(last[node], []).append(slot)
        free += ends.pop(place, [])
    return Slots(of, tuple(sizes), total)
