"""The asv suite: its parameters are literal, its layers exist, and each benchmark runs, on small twins of its layers."""

import importlib
import inspect
import itertools
import pkgutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.measuring import layers
from fastconv.measuring.measure import measure
from fastconv.measuring.report.results import CaseResult

ROOT = Path(__file__).parents[2]
KINDS = ("time_", "track_", "peakmem_")
NAMED = layers.layer
sys.path.append(str(ROOT))  # last, so that an installed fastconv stays the one under test

pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="the suite is not part of an installed package")


def modules():
    """The modules of the suite by name."""
    found = pkgutil.walk_packages([str(ROOT / "benchmarks")], "benchmarks.")
    return {module.name.partition(".")[2]: importlib.import_module(module.name) for module in found if not module.ispkg}


def benchmarks():
    """(id, class, method name) of everything that asv would find."""
    return [
        pytest.param(found, method, id=f"{name}.{key}.{method}")
        for name, module in modules().items()
        for key, found in vars(module).items()
        if inspect.isclass(found) and not key.startswith("_")
        for method, _ in inspect.getmembers(found, inspect.isfunction)
        if method.startswith(KINDS)
    ]


def small(name):
    """A layer of the same kind, with the kernel, stride and padding of the named one on few cells and channels."""
    layer = NAMED(name)
    n, c, *size = layer.x_shape
    extent = (layer.w_shape or (0, 0, layer.kwargs.get("kernel_size", 1)))[2:]
    reach = max(np.ravel(extent).max() * 2, 12)
    size = tuple(min(cells, int(reach)) for cells in size)
    if layer.w_shape is None:
        return replace(layer, x_shape=(n, min(c, 16), *size))
    arguments = layer.kwargs
    few = min(c, 16)
    if "groups" in arguments:
        arguments["groups"] = few
        w_shape = (few, 1, *layer.w_shape[2:])
    else:
        w_shape = (*(min(channels, 16) for channels in layer.w_shape[:2]), *layer.w_shape[2:])
    return replace(layer, x_shape=(n, few, *size), w_shape=w_shape, arguments=tuple(arguments.items()))


def combinations(found):
    return list(itertools.product(*getattr(found, "params", [])))


def test_the_suite_is_partitioned_like_the_kernels():
    kernels = {f"kernels.{name}" for name in ("direct", "winograd", "depthwise", "filters", "pools")}
    assert modules().keys() >= {*kernels, "operations.calls", "operations.process", "quick"}
    assert {method.partition("_")[0] for _, method in (one.values for one in benchmarks())} == {"time", "track", "peakmem"}


@pytest.mark.parametrize(("found", "method"), benchmarks())
def test_parameters_are_literal_and_named(found, method):
    """asv stores them by their repr: one that holds an address would be another on every run."""
    params, names = getattr(found, "params", []), getattr(found, "param_names", [])
    assert len(params) == len(names) == len(set(names))
    for values in params:
        assert values
        assert {type(value) for value in values} <= {str, int}
        assert len(set(values)) == len(values)
    for name in dict(zip(names, params, strict=True)).get("layer", []):
        assert layers.layer(name).name == name


def marked(one):
    """In slow runs, since they compile much; asv itself runs the quick ones in the gate."""
    return pytest.param(*one.values, id=one.id, marks=pytest.mark.slow)


RUN = [marked(one) for one in benchmarks() if one.values[0].__module__ != "benchmarks.operations.process"]


@pytest.mark.parametrize(("found", "method"), RUN)
def test_every_benchmark_runs(found, method, monkeypatch, threads):
    """Where one implementation cannot serve a layer that is n/a; every layer must have one that can."""
    monkeypatch.setattr(layers, "layer", small)
    common = modules()["common"]
    common.planned.cache_clear()
    monkeypatch.setattr(common, "REFERENCE_SECONDS", 0.005)
    ran = {}
    for values in combinations(found):
        benchmark = found()
        try:
            if hasattr(benchmark, "setup"):
                benchmark.setup(*values)
            result = getattr(benchmark, method)(*values)
        except NotImplementedError:
            continue
        ran[values] = result
        assert (result is None) == method.startswith("time_")
        if result is not None:
            assert np.isfinite(result)
            assert result > 0
    assert {values[0] for values in ran} == set(found.params[0])
    common.planned.cache_clear()


def test_a_wrong_result_fails_in_setup(monkeypatch, threads):
    """Before anything is timed."""
    common = modules()["common"]
    common.planned.cache_clear()
    monkeypatch.setattr(layers, "layer", small)
    real = common.unverified

    def spoiled(*arguments):
        plan, x, w = real(*arguments)
        return plan, x, w + 1

    monkeypatch.setattr(common, "unverified", spoiled)
    with pytest.raises(AssertionError, match="wrong at"):
        modules()["kernels.direct"].Conv2d().setup("resnet50.conv1", "direct", "channels_first", 1)


@pytest.mark.slow
def test_new_processes_are_timed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    benchmark = modules()["process"].NewProcess()
    folder = benchmark.setup_cache()
    assert any(Path(folder).rglob("*.kernel")), "the warm cache is warm"
    for name in ("time_interpreter", "time_import_numpy", "time_import_fastconv", "time_first_call_warm_cache"):
        getattr(benchmark, name)(folder)
    assert benchmark.track_first_call_empty_cache(folder) > 0


@pytest.mark.exhaustive
def test_pools_are_printed_in_80_columns(monkeypatch, threads, capsys):
    """A third of the pools on small maps, fastconv alone; what was not timed has a dash."""
    pools = modules()["pools"]
    few = [replace(one, x_shape=(1, 16, *(min(cells, 14) for cells in one.x_shape[2:]))) for one in pools.LAYERS[::3]]
    alone = {"peers": False, "seconds": 0.001}
    monkeypatch.setattr(pools, "LAYERS", few)
    monkeypatch.setattr(pools, "measure", lambda *arguments, **options: measure(*arguments, **options | alone))
    pools.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (len(few) + 2)
    assert max(map(len, lines)) <= 80
    for found, layer in zip(lines[2:], few, strict=False):
        assert found.startswith(layer.name)
        assert float(found[21:].split()[0]) > 0
    assert pools.line(CaseResult(few[0], "NCL", "float32", 1, 1, []), 1.0).split()[-1] == "-"


def test_functions_are_printed_in_80_columns(monkeypatch, threads, capsys):
    """Without torch there is no ratio; with a peer, the faster of several counts."""
    functions = modules()["functions"]
    monkeypatch.setattr(functions, "PEERS", ())
    monkeypatch.setattr(functions, "SECONDS", 0.001)
    monkeypatch.setattr("sys.argv", ["functions", "--network", "mobilenetv2", "--match", "b7_first_dw"])
    functions.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert [line.split()[:2] for line in lines[1:]] == [["mobilenetv2.b7_first_dw", order] for order in ("first", "last")]
    assert all(float(line.split()[2]) > 0 for line in lines[1:])
    assert max(map(len, (functions.line("x" * 30, "channels_first", 0.1, 0.2), *lines))) <= 80
    assert functions.line("x", "channels_last", 2e-6, 3e-6).split() == ["x", "last", "2.0", "3.0", "1.50x"]


def test_memory_has_an_empty_twin(monkeypatch, threads):
    monkeypatch.setattr(layers, "layer", small)
    found = modules()["operations.process"].Memory
    for values in combinations(found):
        benchmark = found()
        benchmark.setup(*values)
        assert benchmark.peakmem_call(*values) is None
        assert benchmark.peakmem_empty(*values) is None
    assert set(found.params[1]) <= set(fc.implementations("conv2d"))
