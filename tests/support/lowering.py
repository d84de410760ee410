"""Kernels lowered to AArch64 on any machine: compiled to be read, never run.

    python tests/support/lowering.py CPU[,CPU...] [CASE ...]

prints, for each case and each processor as LLVM names it, the name of the kernel that the call runs last, and its assembly:
{"case": {"cpu": ["kernel", "assembly"]}}. The process takes itself for an AArch64 machine from its first import on: kernels are
chosen and compiled as they would be there, once for all processors, and optimised for each.
"""

import json
import sys
from operator import attrgetter
from typing import Any

import llvmlite.binding as llvm
import numpy as np

Shape = tuple[int, ...]
Call = tuple[str, tuple[Shape, ...], dict[str, Any]]  # a function's name in fastconv, shapes of its arrays, its options

TRIPLE = "aarch64-unknown-linux-gnu"
FEATURES = "-sve"  # which generic and the other processors lack; vectors of fixed size are NEON's with it as without

NHWC = {"layout": "NHWC"}


def conv(x_shape: Shape, w_shape: Shape, implementation: str, **options: Any) -> Call:
    """A call of conv2d."""
    return "conv2d", (x_shape, w_shape), {"implementation": implementation, **options}


def weight(x_shape: Shape, dy_shape: Shape, implementation: str, size: Shape, **options: Any) -> Call:
    """A call of conv2d_weight."""
    return "grad.conv2d_weight", (x_shape, size, dy_shape), {"implementation": implementation, **options}


# The main kernels of every family: what is called, with which float32 arrays, and how.
CASES: dict[str, Call] = {
    "direct": conv((1, 12, 12, 64), (64, 3, 3, 64), "direct", padding=1, **NHWC),
    "direct, channels first": conv((1, 64, 12, 12), (64, 64, 3, 3), "direct", padding=1),
    "direct, pixels": conv((1, 14, 14, 64), (64, 1, 1, 64), "direct", **NHWC),
    "direct, pointwise": conv((1, 64, 28, 28), (64, 64, 1, 1), "direct"),
    "direct, streams": conv((1, 16, 28, 28), (96, 16, 1, 1), "direct"),
    "direct, planar": conv((1, 3, 50, 50), (32, 3, 3, 3), "direct"),
    "direct, held": conv((1, 50, 50, 1), (32, 3, 3, 1), "direct", padding=1, **NHWC),
    "direct, patches": conv((8, 1, 12, 12), (32, 1, 3, 3), "direct", padding=1),
    "direct, dots": conv((1, 7, 7, 128), (3, 1, 1, 128), "direct", **NHWC),
    "unpacked": conv((1, 7, 7, 64), (64, 3, 3, 64), "unpacked", padding=1, **NHWC),
    "unpacked, scattered": (
        "conv_transpose2d",
        ((1, 14, 14, 64), (64, 4, 4, 16)),
        {"stride": 2, "padding": 1, "implementation": "unpacked", **NHWC},
    ),
    "winograd": conv((1, 64, 28, 28), (64, 64, 3, 3), "winograd", padding=1),
    "winograd, rows": conv((1, 1, 80, 80), (1, 1, 5, 5), "winograd"),
    "strassen": conv((1, 14, 14, 64), (64, 1, 1, 64), "strassen", **NHWC),
    "strassen, channels": conv((1, 64, 14, 14), (64, 64, 1, 1), "strassen"),
    "strassen, doubled": ("conv_transpose2d", ((1, 64, 14, 14), (64, 32, 2, 2)), {"stride": 2, "implementation": "strassen"}),
    "depthwise": conv((1, 12, 14, 64), (64, 3, 3, 1), "depthwise", groups=64, **NHWC),
    "depthwise, planes": conv((1, 64, 12, 14), (64, 1, 3, 3), "depthwise", groups=64, padding=1),
    "depthwise, long rows": conv((1, 8, 112, 112), (8, 1, 3, 3), "depthwise", groups=8, padding=1),
    "depthwise, colours": conv((1, 80, 80, 3), (3, 3, 5, 1), "depthwise", groups=3, **NHWC),
    "depthwise, volumes": conv((1, 32, 12, 14), (64, 1, 3, 5), "depthwise", groups=32),
    "separable": conv((1, 1, 80, 80), (1, 1, 5, 5), "separable"),
    "fft": conv((1, 1, 60, 60), (1, 1, 15, 15), "fft"),
    "gradients, direct": weight((1, 64, 14, 14), (1, 64, 14, 14), "direct", (64, 64, 3, 3), padding=1),
    "gradients, dots": weight((8, 16, 56, 56), (8, 24, 56, 56), "direct", (24, 16, 1, 1)),
    "gradients, winograd": weight((1, 64, 14, 14), (1, 64, 14, 14), "winograd", (64, 64, 3, 3), padding=1),
    "gradients, channels": weight((1, 14, 14, 64), (1, 14, 14, 64), "depthwise", (64, 3, 3, 1), padding=1, groups=64, **NHWC),
    "gradients, planes": weight((1, 8, 56, 56), (1, 8, 56, 56), "depthwise", (8, 1, 3, 3), padding=1, groups=8),
    "correlation": ("ndimage.correlate", ((60, 60), (5, 5)), {}),
    "correlation, passes": ("ndimage.gaussian_filter", ((60, 60),), {"sigma": 1}),
    "filters, mean": ("ndimage.uniform_filter", ((60, 60),), {"size": 5}),
    "extrema": ("ndimage.maximum_filter", ((60, 60),), {"size": 5}),
    "ranks": ("ndimage.median_filter", ((60, 60),), {"size": 3}),
    "pools, windows": ("max_pool2d", ((1, 8, 56, 56),), {"kernel_size": 3, "stride": 2}),
    "pools, pixels": ("avg_pool2d", ((1, 28, 28, 64),), {"kernel_size": 3, "stride": 2, **NHWC}),
}
# Instructions a multiply-add in the busiest loop, at most: of a family or a case. Processors that start four a cycle, two of
# them multiply-adds, wait for none of 1.8. There are more where a step has few of them, or each needs a load of its own.
INSTRUCTIONS = dict.fromkeys(("direct", "winograd", "strassen", "separable", "gradients"), 1.8)
INSTRUCTIONS |= {"direct, dots": 3.5, "unpacked": 1.9, "depthwise": 2.4, "depthwise, colours": 4.0, "correlation": 2.7}
INSTRUCTIONS |= {"direct, held": 3.1, "gradients, channels": 3.0, "gradients, planes": 3.0}


def most_instructions(case: str) -> float | None:
    """Of a multiply-add in the busiest loop of a case; None where a family has no such loop."""
    return INSTRUCTIONS.get(case) or INSTRUCTIONS.get(case.partition(",")[0])


def pretend(cpu: str) -> None:
    """Let this process take itself for an AArch64 machine: before Numba is imported."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.get_process_triple = llvm.get_default_triple = lambda: TRIPLE
    llvm.Target.from_default_triple = classmethod(lambda cls: cls.from_triple(TRIPLE))
    llvm.get_host_cpu_name = lambda: cpu

    class Features(dict[str, bool]):
        def flatten(self, sort: bool = True) -> str:
            return FEATURES

    llvm.get_host_cpu_features = Features


def main_kernel(call: Any) -> tuple[Any, tuple[Any, ...]]:
    """(kernel, arguments) that a call would run last; none is run."""
    from fastconv.kernels import jit
    from fastconv.kernels.simd.engine import weights
    from fastconv.plans import straight

    met = []
    for module in (jit, weights, straight):
        module.GRAIN = 0  # small calls pass by `__call__`, which runs none
    run, launched = jit.Kernel.__call__, jit.Launch.run
    jit.Kernel.__call__ = lambda self, total, work, *arguments: met.append((self, arguments))
    jit.Launch.run = lambda self, x, residual, y: met.append(
        (self.kernel, (x, self.weights, self.bias, residual, y, *self.arguments))
    )
    try:
        call()
    finally:
        jit.Kernel.__call__, jit.Launch.run = run, launched
    return [one for one in met if "combine" not in one[0].__name__][-1]


def lowered(kernel: Any, arguments: tuple[Any, ...], cpus: list[str]) -> dict[str, str]:
    """The assembly of a kernel for each processor; what stands before the last optimisation is the same for all."""
    from numba.core.registry import cpu_target

    from fastconv.kernels.compiling.libraries import KernelLibrary

    codegen = cpu_target.target_context.codegen()
    dispatcher = kernel.serial
    dispatcher._cache.disable()
    found: dict[str, str] = {}
    optimize, host = KernelLibrary._optimize_final_module, codegen._tm

    def every(library: Any) -> None:
        """Of the kernel's own code: what parts are made into passes through elsewhere."""
        module = library._final_module
        for cpu in cpus:
            codegen._tm = llvm.Target.from_triple(TRIPLE).create_target_machine(
                cpu=cpu, features=FEATURES, opt=3, reloc="default", codemodel="jitdefault", jit=True
            )
            library._final_module = module.clone()
            optimize(library)
            found[cpu] = codegen._tm.emit_assembly(library._final_module)
        codegen._tm = host

    KernelLibrary._optimize_final_module = every
    try:
        dispatcher.compile(tuple(map(dispatcher.typeof_pyval, (0, 0, *arguments))))
    finally:
        KernelLibrary._optimize_final_module = optimize
    return found


def numbers(shape: Shape) -> np.ndarray:
    """Of no order that a kernel could use."""
    return np.random.default_rng(0).random(shape, np.float32)


def assembly_of(case: str, cpus: list[str]) -> dict[str, tuple[str, str]]:
    """{cpu: (kernel, assembly)} of what a case runs last."""
    import fastconv as fc

    name, shapes, options = CASES[case]
    operands = [shape if name.endswith("_weight") and i == 1 else numbers(shape) for i, shape in enumerate(shapes)]
    kernel, arguments = main_kernel(lambda: attrgetter(name)(fc)(*operands, **options))
    return {cpu: (kernel.__name__, code) for cpu, code in lowered(kernel, arguments, cpus).items()}


if __name__ == "__main__":
    processors = sys.argv[1].split(",")
    pretend(processors[0])
    json.dump({case: assembly_of(case, processors) for case in sys.argv[2:] or CASES}, sys.stdout)
