"""Imports run one way: a module imports what stands before it in the order of layers, and Numba comes in by few doors."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv

PACKAGE = Path(fastconv.__file__).parent
# A line may import the lines above it. Kernel families stand on one line: they do not import one another.
COMPUTING = (
    ("geometry", "machine"),
    ("pool_geometry", "fold_geometry", "memory"),
    ("kernels.cache", "kernels.threads"),
    ("kernels.jit",),
    ("kernels.activations",),
    ("kernels.reference", "kernels.strided", "kernels.im2col", "kernels.loops", "kernels.simd"),
    ("registry",),
    ("dispatch",),
    ("arguments",),
    ("signatures",),
    ("racing",),
    ("plan",),
    ("planning",),
    ("api",),
    ("layers",),
)
# Measuring, and above it the programs: on one line, these may import one another, as long as there is no cycle.
MEASURING = ("extras", "numpycnn", "sampling", "roofs", "peers", "compare", "comparison", "measuring", "reporting", "plotting")
MEASURING += ("svg", "page", "report")
LAYERS = (*COMPUTING, MEASURING, ("demo", "cli", "__main__"))
FREE = (len(COMPUTING), len(COMPUTING) + 1)
GEOMETRY_ONLY = {"arguments": {"geometry"}, "signatures": {"geometry", "pool_geometry", "fold_geometry", "arguments"}}
PARTS = ("types", "building", "dots", "pointers", "memory", "arithmetic", "norms", "tiles", "products", "reducers", "windows")
PARTS += ("activations",)
VECTOR = {f"kernels.simd.vector.{part}" for part in PARTS}
DOORS = {"llvmlite": VECTOR, "numba": {"kernels.jit", "kernels.cache", "kernels.threads", "machine", "cli", *VECTOR}}


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
            found += [
                (f"{whole}.{alias.name}" if whole in ("fastconv", "fastconv.kernels") else whole, node.lineno)
                for alias in node.names
            ]
    return found


def place(name: str) -> tuple[int, str] | None:
    """(level, unit) of a module in LAYERS: "kernels.simd.conv" and "api.conv" belong to "kernels.simd" and "api"."""
    for level, units in enumerate(LAYERS):
        for unit in units:
            if name == unit or name.startswith(unit + "."):
                return level, unit
    return None


def is_public(name: str) -> bool:
    """Whether a name is the package, or one of the names that it re-exports, and no module of it."""
    return name == "fastconv" or name.removeprefix("fastconv.") in (*fastconv.__all__, "__version__")


def violations(source: str, module: str) -> list[str]:
    """What is wrong with the imports of `module`, whose name is given without "fastconv."."""
    found = []
    here = place(module)
    if here is None and module not in ("__init__", "kernels.__init__"):
        return [f"{module} has no place in the order of layers"]
    for name, line in imports(source, module):
        door = DOORS.get(name.split(".")[0])
        if door is not None and module not in door:
            found.append(f"{module}:{line} imports {name}, which only {sorted(door)} may")
        if name.split(".")[0] != "fastconv" or here is None:
            continue
        target = place("api" if is_public(name) else name.removeprefix("fastconv."))
        if target is None:
            found.append(f"{module}:{line} imports {name}, which has no place in the order of layers")
        elif target[1] != here[1] and (target[0] > here[0] or (target[0] == here[0] and here[0] not in FREE)):
            found.append(f"{module}:{line} imports {name}, which is no layer below it")
        elif module in GEOMETRY_ONLY and target[1] not in GEOMETRY_ONLY[module]:
            found.append(f"{module}:{line} imports {name}, and may import {sorted(GEOMETRY_ONLY[module])}")
    return found


def modules() -> dict[str, Path]:
    """Every module of the package by its name without "fastconv."; a subpackage's __init__ by the package's name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    found["kernels.__init__"] = found.pop("kernels")
    return found


@pytest.mark.parametrize("module", modules())
def test_imports_run_one_way(module: str) -> None:
    assert not violations(modules()[module].read_text(), module)


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("geometry", "from fastconv.pool_geometry import PoolGeometry", "no layer below"),
        ("machine", "import fastconv.geometry", "no layer below"),
        ("kernels.loops", "from fastconv.kernels import im2col", "no layer below"),
        ("kernels.loops", "from fastconv.kernels.simd.conv import run", "no layer below"),
        ("kernels.loops", "from . import strided", "no layer below"),
        ("kernels.simd.conv", "from fastconv.kernels.loops import conv", "no layer below"),
        ("kernels.reference", "def run():\n    from fastconv.registry import OPERATIONS", "no layer below"),
        ("kernels.loops", "import numba", "only"),
        ("plan", "from numba import njit", "only"),
        ("kernels.jit", "from llvmlite import ir", "only"),
        ("kernels.simd.conv", "import llvmlite.ir", "only"),
        ("registry", "from fastconv.dispatch import choose", "no layer below"),
        ("arguments", "from fastconv.registry import OPERATIONS", "may import"),
        ("signatures", "from fastconv.dispatch import choose", "may import"),
        ("dispatch", "from fastconv import plan", "no layer below"),
        ("api.conv", "from fastconv.layers import layer", "no layer below"),
        ("plan", "from fastconv.api.conv import conv2d", "no layer below"),
        ("compare", "import fastconv.cli", "no layer below"),
        ("api.conv", "from fastconv.newcomer import thing", "no place"),
        ("newcomer", "", "no place"),
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
    """Also where modules of one line may import one another."""
    graph: dict[str, set[str]] = {}
    for module, path in modules().items():
        top = ast.Module(
            [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)], []
        )
        names = {name.removeprefix("fastconv.") for name, _ in imports(ast.unparse(top), module)}
        graph[module] = (names & modules().keys()) - {module}
    assert not cycle(graph)
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]


def test_good_imports_are_let_through() -> None:
    assert not violations("import numpy as np\nfrom fastconv.kernels import threads", "api.inspect")
    assert not violations("from fastconv.kernels.simd import vector", "kernels.simd.conv")
    assert not violations("from fastconv.api.types import Array", "api.conv")
    assert not violations("from fastconv import geometry as sizes", "kernels.loops")


@pytest.mark.parametrize("package", ["matplotlib", "rich", "scipy", "torch", "asv", "fastconv.compare", "fastconv.layers"])
def test_import_brings_only_what_computing_needs(package: str) -> None:
    """`import fastconv` does not import what only measuring, drawing or testing needs, beyond what Numba itself imports."""
    code = f"import sys, numba; before = set(sys.modules); import fastconv; assert {package!r} not in set(sys.modules) - before"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
