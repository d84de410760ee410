"""What LLVM makes of the hot loops: single precision stays single, and accumulators stay in registers."""

import numpy as np
import pytest
from assembly import AARCH64, X86, blocks, busiest, instructions, loops, on_stack, sums

import fastconv as fc
from fastconv.kernels.jit import Kernel, Launch
from fastconv.kernels.simd.pools import choice as pool
from fastconv.kernels.simd.pools import indices as pool_indices
from fastconv.kernels.simd.pools import planes as pool_planes
from fastconv.kernels.simd.pools import running
from fastconv.machine import host

HERE = AARCH64 if host().isa == "neon" else X86

CASES = {
    "direct, channels last": ((1, 12, 14, 64), (32, 3, 3, 64), {"layout": "NHWC"}),
    "direct, few positions": ((1, 2, 2, 64), (96, 3, 3, 64), {"layout": "NHWC", "padding": 1}),
    "direct, channels first": ((1, 64, 12, 14), (32, 64, 3, 3), {}),
    "direct, values one by one, last": ((1, 41, 41, 32), (32, 3, 3, 32), {"layout": "NHWC", "stride": 2, "padding": 1}),
    "direct, values one by one, first": ((1, 32, 41, 41), (32, 32, 3, 3), {"stride": 2, "padding": 1}),
    "direct, few channels": ((1, 16, 28, 28), (96, 16, 1, 1), {}),
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


def test_float32_kernels_do_no_double_arithmetic(assembly):
    found = HERE.double.search(assembly)
    assert found is None, assembly[max(0, found.start() - 200) : found.end() + 200]


@pytest.mark.skipif(host().isa == "sse2", reason="the baseline has no fused multiply-add to look for")
def test_hot_loops_keep_their_accumulators_in_registers(assembly, request):
    if host().registers < 32 and request.node.callspec.params["assembly"] == "fft":
        pytest.skip("a butterfly of four complex vectors and its factors take more than 16 registers")
    if host().registers < 32 and request.node.callspec.params["assembly"] == "depthwise, channels first":
        pytest.skip("nine weights and a tile take more than 16 registers: multiply-adds read weights from the stack")
    transforms = request.node.callspec.params["assembly"] == "fft"
    block, least = busiest(assembly, HERE), 6 if transforms else 8  # a butterfly has six, and as many that subtract
    if len(HERE.fma.findall(block)) < least:  # a loop of several runs of code
        runs = blocks(assembly)
        if transforms:  # it clamps nothing, but for the exponentials of activations
            runs = [one for one in runs if not HERE.clamp.search(one)]
        block = max(runs, key=lambda one: len(HERE.fma.findall(one)))
    assert len(HERE.fma.findall(block)) >= least, "the block with the multiply-adds was not found"
    products = len(HERE.fma.findall(block))
    others = [one for one in loops(assembly, HERE) if len(HERE.fma.findall(one)) == products]
    for loop in [block, *(one for one in others if not HERE.clamp.search(one))]:
        assert not on_stack(HERE.spill, loop), loop
        assert len(on_stack(HERE.reload, loop)) <= products / 10, loop


def test_the_patterns_of_x86_find_what_they_look_for():
    assert X86.double.search("\tvmulpd\t%zmm0, %zmm1, %zmm2\n")
    assert X86.double.search("\tvcvtps2pd\t%ymm0, %zmm1\n")
    assert not X86.double.search("\tvmulps\t%zmm0, %zmm1, %zmm2\n\tvmovapd\t(%rax), %zmm14\n")
    assert X86.spill.search("\tvmovups\t%zmm21, 80(%rsp)\n")
    assert not X86.spill.search("\tvmovups\t80(%rsp), %zmm21\n")
    assert X86.reload.search("\tvmovups\t80(%rsp), %zmm21\n")
    assert X86.reload.search("\tvfmadd231ps\t-128(%rbp), %zmm2, %zmm21\n")
    assert not X86.spill.search("\tmovq\t-48(%rsp), %rdx\n\tvbroadcastss\t(%rdx,%rcx), %zmm30\n")


@pytest.mark.parametrize("moved", ["subq\t$-128, %rbp", "addq\t%r8, %rbp", "incq\t%rbp", "leaq\t64(%rbp), %rbp"])
def test_a_pointer_that_a_loop_moves_is_not_the_frame_s(moved):
    reads = "\tvmovups\t32(%rbp), %ymm13\n\tvmovups\t64(%rsp), %ymm12\n"
    assert len(on_stack(X86.reload, reads)) == 2
    assert on_stack(X86.reload, f"{reads}\t{moved}\n") == ["64(%rsp), %ymm12"]
    assert len(on_stack(X86.reload, f"{reads}\tmovq\t%rbp, %rax\n\tcmpq\t%rax, %rbp\n")) == 2


def test_the_patterns_of_aarch64_find_what_they_look_for():
    for line in ("fmul\tv0.2d, v1.2d, v2.2d", "fadd\td0, d1, d2", "fcvtl\tv0.2d, v1.2s", "fcvt\td0, s1", "fmla.2d\tv0, v1, v2"):
        assert AARCH64.double.search(f"\t{line}\n"), line
    for line in ("fmul\tv0.4s, v1.4s, v2.4s", "fadd\ts0, s1, s2", "fmov\td0, x1", "ldr\td0, [x1]", "fcvt\ts0, h1"):
        assert not AARCH64.double.search(f"\t{line}\n"), line
    for line in ("str\tq1, [sp, #16]", "stp\tq1, q2, [sp, #32]"):
        assert AARCH64.spill.search(f"\t{line}\n"), line
        assert AARCH64.reload.search(f"\t{line.replace('st', 'ld', 1)}\n"), line
    for line in ("str\tx1, [sp, #16]", "str\tq1, [x2, #16]", "stp\tx29, x30, [sp, #-16]!", "str\td8, [sp]"):
        assert not AARCH64.spill.search(f"\t{line}\n"), line
        assert not AARCH64.reload.search(f"\t{line.replace('st', 'ld', 1)}\n"), line
    for line in ("fmla\tv0.4s, v1.4s, v2.s[0]", "fmla\tv20.4s, v1.4s, v2.4s", "fmla.4s\tv0, v1, v2[0]"):
        assert AARCH64.fma.search(f"\t{line}\n"), line


@pytest.mark.parametrize(
    ("of", "fma", "jump"),
    [(X86, "vfmadd231ps\t%zmm0, %zmm1, %zmm2", "jne"), (AARCH64, "fmla\tv0.4s, v1.4s, v2.4s", "b.ne")],
    ids=["x86", "aarch64"],
)
def test_the_busiest_loop_is_the_one_that_jumps_to_itself(of, fma, jump):
    straight = ".LBB0_1:\n" + 9 * f"\t{fma}\n"
    loop = f".LBB0_2:\n\t{fma}\n\t{fma}\n\t{jump}\t.LBB0_2"
    assert busiest(f"f:\n{straight}{loop}\n\tret\n", of) == loop
    assert busiest(f"f:\n{straight}\tret\n", of) == f"{straight}\tret\n"
    assert len(instructions(loop)) == 3
    other = f".LBB0_3:\n\tnop\n\t{jump}\t.LBB0_3"  # a loop without sums is none of them
    written_out = busiest(f"f:\n{straight}{other}\n\tret\n", of)
    assert written_out == straight.rstrip("\n")
    assert len(instructions(sums(f"\tnop\n{written_out}\n\tnop\n", of))) == 9


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
    assert not HERE.double.search(code)
