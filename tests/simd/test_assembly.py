"""What LLVM makes of the hot loops: single precision stays single, and accumulators stay in registers."""

import re

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.jit import Kernel, Launch
from fastconv.kernels.simd.pools import choice as pool
from fastconv.kernels.simd.pools import indices as pool_indices
from fastconv.kernels.simd.pools import planes as pool_planes
from fastconv.kernels.simd.pools import running
from fastconv.machine import host

DOUBLE = re.compile(r"\s(v?(add|sub|mul|div|max|min|fn?m(add|sub)\d*|sqrt)[sp]d|v?cvt(ss2sd|ps2pd))\s")
FMA = re.compile(r"\svfmadd\d*ps\s")
SPILL = re.compile(r"%[xyz]mm\d+, -?\d*\(%r[sb]p\)")  # a sum that leaves its register is stored
RELOAD = re.compile(r"-?\d*\(%r[sb]p\), (?:%[xyz]mm\d+, )?%[xyz]mm\d+")  # so is what stays the same, but once, outside

CASES = {
    "direct, channels last": ((1, 12, 14, 64), (32, 3, 3, 64), {"layout": "NHWC"}),
    "direct, channels first": ((1, 64, 12, 14), (32, 64, 3, 3), {}),
    "fft": ((1, 1, 60, 60), (1, 1, 15, 15), {}),
    "winograd": ((1, 64, 28, 28), (32, 64, 3, 3), {}),
    "strassen, channels last": ((1, 14, 14, 64), (64, 1, 1, 64), {"layout": "NHWC"}),
    "strassen, channels first": ((1, 64, 14, 14), (64, 64, 1, 1), {}),
    "depthwise, channels last": ((1, 12, 14, 64), (64, 3, 3, 1), {"layout": "NHWC", "groups": 64}),
    "depthwise, channels first": ((1, 64, 12, 14), (64, 1, 3, 3), {"groups": 64}),
}


@pytest.fixture(scope="module", params=CASES)
def assembly(request):
    """The code of a float32 kernel that was compiled here and now."""
    x_shape, w_shape, options = CASES[request.param]
    name = request.param.split(",")[0]
    plan = fc.conv2d.plan(x_shape, np.ones(w_shape, np.float32), implementation=name, **options)
    launch = plan.packed if isinstance(plan.packed, Launch) else plan.packed[0]
    fresh = Kernel(launch.kernel.serial.py_func)
    fresh.serial._cache.disable()
    x, y = np.ones(x_shape, np.float32).reshape(-1), np.empty(plan.out_shape, np.float32).reshape(-1)
    fresh.serial(0, 1, x, launch.weights, launch.bias, y, y, *launch.arguments)
    (code,) = fresh.serial.inspect_asm().values()
    return code


def blocks(code):
    """The straight runs of code from one label to the next."""
    return re.split(r"\n(?=\.LBB\w+:)", code)


def test_float32_kernels_do_no_double_arithmetic(assembly):
    found = DOUBLE.search(assembly)
    assert found is None, assembly[max(0, found.start() - 200) : found.end() + 200]


@pytest.mark.skipif(host().isa not in ("avx2", "avx512"), reason="the baseline has no fused multiply-add to look for")
def test_hot_loops_keep_their_accumulators_in_registers(assembly, request):
    if host().registers < 32 and request.node.callspec.params["assembly"] == "fft":
        pytest.skip("a butterfly of four complex vectors and its factors take more than 16 registers")
    busiest = max(blocks(assembly), key=lambda block: len(FMA.findall(block)))
    assert len(FMA.findall(busiest)) >= 8, "the block with the multiply-adds was not found"
    assert not SPILL.search(busiest), busiest
    assert len(RELOAD.findall(busiest)) <= len(FMA.findall(busiest)) / 10, busiest


def test_the_patterns_find_what_they_look_for():
    assert DOUBLE.search("\tvmulpd\t%zmm0, %zmm1, %zmm2\n")
    assert DOUBLE.search("\tvcvtps2pd\t%ymm0, %zmm1\n")
    assert not DOUBLE.search("\tvmulps\t%zmm0, %zmm1, %zmm2\n\tvmovapd\t(%rax), %zmm14\n")
    assert SPILL.search("\tvmovups\t%zmm21, 80(%rsp)\n")
    assert not SPILL.search("\tvmovups\t80(%rsp), %zmm21\n")
    assert RELOAD.search("\tvmovups\t80(%rsp), %zmm21\n")
    assert RELOAD.search("\tvfmadd231ps\t-128(%rbp), %zmm2, %zmm21\n")
    assert not SPILL.search("\tmovq\t-48(%rsp), %rdx\n\tvbroadcastss\t(%rdx,%rcx), %zmm30\n")


POOLS = {
    "running": (running, "avg_pool2d", {"kernel_size": 7, "stride": 1, "padding": 3}),
    "columns by vectors": (pool, "avg_pool2d", {"kernel_size": 3, "stride": 2}),
    "columns one by one": (pool, "avg_pool2d", {"kernel_size": 4}),
    "channels": (pool, "lp_pool2d", {"kernel_size": 3, "norm_type": 2, "layout": "NHWC"}),
    "planes": (pool_planes, "global_avg_pool", {}),
    "indices": (pool_indices, "max_pool2d", {"kernel_size": 4, "return_indices": True}),
}


@pytest.mark.parametrize(("family", "operation", "options"), POOLS.values(), ids=POOLS)
def test_float32_pools_do_no_double_arithmetic(family, operation, options):
    x = np.ones((2, 40, 40, 40), np.float32)
    geometry = getattr(fc, operation).plan(x.shape, **options).geometry
    kernel, _, _, arguments = family.launch(geometry, x.dtype, host())
    fresh = Kernel(kernel.serial.py_func)
    fresh.serial._cache.disable()
    outputs = [np.ones(x.size, dtype) for dtype in (np.float32, np.int64)[: 1 + geometry.return_indices]]
    fresh.serial(0, 1, x.reshape(-1), *outputs, *arguments)
    (code,) = fresh.serial.inspect_asm().values()
    assert not DOUBLE.search(code)
