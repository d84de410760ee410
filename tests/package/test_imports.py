"""Imports run one way: a room imports the rooms that its row names, and Numba and llvmlite come in by few doors."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv

PACKAGE = Path(fastconv.__file__).parent
SIMD = "kernels.simd"
FAMILIES = tuple(
    sorted(
        f"{SIMD}.{path.name}"
        for path in (PACKAGE / "kernels" / "simd").iterdir()
        if path.is_dir() and path.name not in ("vector", "engine", "__pycache__")
    )
)
COMPILED = ("kernels.jit", "kernels.activations", "kernels.memory", "kernels.keeping")
# A room, and all the rooms that it may import. A family of kernels has no row of its own: no family imports another.
ROOMS: dict[str, tuple[str, ...]] = {
    "problem": (),
    "machine": (),
    "kernels.notice": (),
    "kernels.tidying": (),
    "kernels.claims": (),
    "kernels.cache": ("kernels.claims", "kernels.notice", "kernels.tidying"),
    "kernels.processors": (),
    "kernels.keeping": (),
    "kernels.memory": ("problem",),
    "kernels.compiling": ("kernels.cache", "kernels.claims"),
    f"{SIMD}.vector": ("machine",),
    "kernels.team": ("kernels.compiling", f"{SIMD}.vector", "problem"),
    "kernels.threads": ("kernels.processors", "kernels.team", "problem"),
    "kernels.jit": ("kernels.cache", "kernels.compiling", "kernels.team", "kernels.threads", f"{SIMD}.vector", "problem"),
    "kernels.programs": (
        *("kernels.compiling", "kernels.jit", "kernels.memory", "kernels.team", "kernels.threads"),
        *(f"{SIMD}.vector", "problem"),
    ),
    "kernels.activations": ("kernels.jit", "problem"),
    "kernels.reference": ("kernels.activations", "problem"),
    "kernels.borders": ("problem",),
    "kernels.filters": ("kernels.borders", "problem"),
    "kernels.finishing": ("kernels.activations", "kernels.jit", "problem"),
    "kernels.strided": ("kernels.activations", "kernels.borders", "problem", "machine"),
    "kernels.im2col": ("kernels.activations", "problem"),
    "kernels.loops": ("kernels.activations", "kernels.jit", "problem"),
    "kernels.ordering": ("kernels.jit", "kernels.loops", "problem"),
    "kernels.gradients": (
        "kernels.activations",
        "kernels.borders",
        "kernels.im2col",
        "kernels.jit",
        "kernels.loops",
        "kernels.reference",
        "kernels.strided",
        "problem",
    ),
    f"{SIMD}.engine": (f"{SIMD}.vector", *COMPILED, "problem", "machine"),
    **dict.fromkeys(FAMILIES, (f"{SIMD}.engine", f"{SIMD}.vector", *COMPILED, "problem", "machine")),
    "plans": ("kernels", "problem", "machine"),
    "operations": ("doors", "plans", "kernels.threads", "kernels.keeping", "problem", "machine"),
    "doors": ("problem",),
    "ndimage": ("doors", "plans", "kernels.keeping", "kernels.memory", "problem"),
    "numpycnn": ("operations", "problem"),
    "grad": ("operations",),
    "training": ("operations",),
    "autograd": ("operations",),
    "jax": ("operations",),
    "served": (),
    "signal": ("doors", "served", "ndimage", "operations", "plans", "kernels.keeping", "problem", "machine"),
    "dask": ("operations", "ndimage", "signal", "served", "plans", "kernels.memory", "kernels.threads", "problem", "machine"),
    "torch": ("operations", "grad", "kernels.memory", "kernels.programs", "problem"),
    "onnx": ("operations",),
    "numba": ("operations", "plans", "kernels.threads"),
    "patching": ("signal", "ndimage", "served"),
    "measuring": ("operations", "plans", "kernels", "numpycnn", "training", "problem", "machine"),
    "cli": ("measuring", "operations", "training", "kernels.cache", "kernels.processors", "problem", "machine"),
    "__main__": ("cli",),
}
DOORS = {
    "llvmlite": (f"{SIMD}.vector", "kernels.compiling"),
    "numba": (
        f"{SIMD}.vector",
        "kernels.compiling",
        "kernels.jit",
        "kernels.cache",
        "kernels.threads",
        "machine",
        "cli",
        "numba",
    ),
}


def imports(source: str, module: str) -> list[tuple[str, int]]:
    """(full name, line) of everything that a module's source imports, inside functions and TYPE_CHECKING too."""
    found = []
    parts = ("fastconv", *module.split("."))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            whole = ".".join(part for part in (base, node.module) if part)
            found += [(name if is_room(name := f"{whole}.{alias.name}") else whole, node.lineno) for alias in node.names]
    return found


def is_room(name: str) -> bool:
    """Whether a dotted name is a module or a package of fastconv, or is meant to be a room."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    is_file = name.startswith("fastconv.") and (path.is_dir() or path.with_suffix(".py").is_file())
    return is_file or name.removeprefix("fastconv.") in ROOMS


def room_of(name: str) -> str | None:
    """The room that a module, named without "fastconv.", belongs to: "kernels.simd.direct" of "kernels.simd.direct.tiles"."""
    return max((room for room in ROOMS if name == room or name.startswith(room + ".")), key=len, default=None)


def is_public(name: str) -> bool:
    """Whether a name is the package, or one of the names that it re-exports, and no module of it."""
    return name == "fastconv" or name.removeprefix("fastconv.") in (*fastconv.__all__, "__version__")


def violations(source: str, module: str) -> list[str]:
    """What is wrong with the imports of `module`, whose name is given without "fastconv."."""
    here = room_of(module)
    if here is None and module not in ("__init__", "kernels", SIMD):
        return [f"{module} belongs to no room"]
    found = []
    for name, line in imports(source, module):
        door = DOORS.get(name.split(".")[0])
        if door is not None and here not in door:
            found.append(f"{module}:{line} imports {name}, which only {door} may")
        if name.split(".")[0] != "fastconv" or here is None:
            continue
        inside = "operations" if is_public(name) else name.removeprefix("fastconv.")
        target = room_of(inside)
        if target is None and inside not in ("kernels", SIMD):
            found.append(f"{module}:{line} imports {name}, which belongs to no room")
        elif target is not None and target != here and not any(f"{target}.".startswith(f"{may}.") for may in ROOMS[here]):
            found.append(f"{module}:{line} imports {name}: {here} may import {ROOMS[here] or 'nothing of fastconv'}")
    return found


def modules() -> dict[str, Path]:
    """Every module of the package by its name without "fastconv."; a subpackage's __init__ by the package's name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


@pytest.mark.parametrize("module", modules())
def test_imports_run_one_way(module: str) -> None:
    assert not violations(modules()[module].read_text(), module)


def test_there_are_families() -> None:
    """The rows that forbid one family to import another are made of the folders that there are."""
    assert {"direct", "depthwise", "winograd", "strassen", "fourier", "pools", "filters"} <= {
        name.removeprefix(f"{SIMD}.") for name in FAMILIES
    }


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("problem.convolutions", "from fastconv.machine import host", "may import nothing"),
        ("machine", "import fastconv.problem.convolutions", "may import nothing"),
        ("kernels.loops", "from fastconv.kernels import im2col", "kernels.loops may import"),
        ("kernels.loops", "from fastconv.kernels.simd.direct.choice import run", "kernels.loops may import"),
        ("kernels.loops.pools", "from .. import strided", "kernels.loops may import"),
        ("kernels.simd.direct.tiles", "from fastconv.kernels.loops.convolutions import conv", "kernels.simd.direct may import"),
        ("kernels.simd.direct.tiles", "from fastconv.kernels.simd.winograd import cuts", "kernels.simd.direct may import"),
        ("kernels.simd.engine.costs", "from fastconv.kernels.simd.direct import tiles", "kernels.simd.engine may import"),
        ("kernels.simd.vector.tiles", "from fastconv.kernels.simd.engine import costs", "kernels.simd.vector may import"),
        ("kernels.reference", "def run():\n    from fastconv.plans.registry import OPERATIONS", "kernels.reference may import"),
        ("kernels.loops", "import numba", "only"),
        ("plans.plan", "from numba import njit", "only"),
        ("kernels.jit", "from llvmlite import ir", "only"),
        ("kernels.simd.direct.tiles", "import llvmlite.ir", "only"),
        ("problem.arguments", "from fastconv.plans.registry import OPERATIONS", "may import nothing"),
        ("plans.dispatch", "from fastconv import operations", "plans may import"),
        ("plans.dispatch", "from fastconv import conv2d", "plans may import"),
        ("operations.inspect", "from fastconv.measuring.layers import layer", "operations may import"),
        ("measuring.comparison", "import fastconv.cli", "measuring may import"),
        ("operations.inspect", "from fastconv.newcomer import thing", "belongs to no room"),
        ("newcomer", "", "belongs to no room"),
    ],
)
def test_a_bad_import_is_found(module: str, source: str, message: str) -> None:
    """Upward, sideways between families, late, relative or by another door: the checker sees it."""
    (found,) = violations(source, module)
    assert message in found


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a ring, or none."""
    remaining = dict(graph)
    while True:
        leaves = {module for module, needed in remaining.items() if not needed & remaining.keys()}
        if not leaves:
            return sorted(remaining)
        remaining = {module: needed for module, needed in remaining.items() if module not in leaves}


def test_there_is_no_cycle() -> None:
    """Between modules of one room neither."""
    graph: dict[str, set[str]] = {}
    for module, path in modules().items():
        top = ast.Module(
            [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)], []
        )
        own = [name for name, _ in imports(ast.unparse(top), module) if name.split(".")[0] == "fastconv"]  # and not dask itself
        names = {name.removeprefix("fastconv.") for name in own}
        graph[module] = (names & modules().keys()) - {module}
    assert not cycle(graph)
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]


def test_good_imports_are_let_through() -> None:
    assert not violations("import numpy as np\nfrom fastconv.kernels import threads", "operations.inspect")
    assert not violations("from fastconv.kernels.simd import vector", "kernels.simd.direct.tiles")
    assert not violations("from fastconv.kernels.simd.engine import costs", "kernels.simd.direct.tiles")
    assert not violations("from fastconv.operations.types import Array", "operations.inspect")
    assert not violations("from fastconv.kernels.simd.winograd import choice", "plans.registry")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "package",
    [
        "matplotlib",
        "rich",
        "scipy",
        "torch",
        "asv",
        "dask",
        "fastconv.measuring",
        "fastconv.numpycnn",
        "fastconv.signal",
        "fastconv.training",
    ],
)
def test_import_brings_only_what_computing_needs(package: str) -> None:
    """`import fastconv` does not import what only measuring, drawing or testing needs, beyond what Numba itself imports."""
    code = f"import sys, numba; before = set(sys.modules); import fastconv; assert {package!r} not in set(sys.modules) - before"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
