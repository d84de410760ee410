"""What the kernels need to know of the processor: instruction set, vector width, registers, caches, rough speeds.

Decisions read these figures and nothing else, so that the same kind of CPU always decides alike.
"""

import os
import re
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

# (name, feature that an x86 CPU must have, bytes of a vector, vector registers)
X86 = (("avx512", "avx512f", 64, 32), ("avx2", "fma", 32, 16), ("sse2", "", 16, 16))
# What NUMBA_CPU_NAME may name, where LLVM's own feature list does not tell.
NAMED = {
    "haswell": "avx2",
    "x86-64-v3": "avx2",
    "skylake-avx512": "avx512",
    "x86-64-v4": "avx512",
    "x86-64": "sse2",
    "generic": "sse2",
}
CLOCK = 3.5e9  # cycles a second: only ratios of costs matter
ONE_UNIT = ("znver4",)  # LLVM names of CPUs that run a vector of 64 bytes as two halves
STREAMED = 15e9  # bytes of weights a second that come to a core from the cache all share, or from memory, while it computes
STREAMS = {"znver4": 25e9, "znver5": 35e9}  # by LLVM's names, where a few cores have a last cache of their own
CACHED = 108e9  # bytes a second that come to a core from the last cache
CACHED_FAR = 24e9  # where all cores of a socket share it over a mesh
MESHES = ("skylake-avx512", "cascadelake", "cooperlake", "icelake-server", "sapphirerapids", "emeraldrapids", "graniterapids")


@dataclass(frozen=True, eq=False)  # looked up by identity on every call: there is one
class Machine:
    """A kind of CPU.

    Attributes
    ----------
    isa : str
        "avx512", "avx2", "sse2" or "neon".
    vector_bytes, registers : int
        Size and number of vector registers.
    units : int
        Fused multiply-adds of whole vectors a cycle.
    l1, l2, l3 : int
        Bytes of data cache a core; of the last level, which cores share, in all.
    bandwidth : float
        Bytes a second that one core moves to and from memory.
    streamed : float
        Bytes a second of packed weights that come from the last cache or memory while one core computes, by measurement.
    cached : float
        Bytes a second that come to a core from the last cache, as they follow each other.
    """

    isa: str
    vector_bytes: int
    registers: int
    units: int = 2
    l1: int = 32 << 10
    l2: int = 1 << 20
    l3: int = 32 << 20
    bandwidth: float = 12e9
    streamed: float = STREAMED
    cached: float = CACHED

    @property
    def converts(self) -> bool:
        """Whether vectors of 8 and 16 bits are read and written, whole or masked, and converted to float32 and back."""
        return self.isa == "avx512"

    @property
    def is_meshed(self) -> bool:
        """Whether cores share the last cache over a mesh, so that it is far: what is in use should fit the L2 cache."""
        return self.cached < CACHED

    def asks(self, moved: int) -> bool:
        """Whether what comes next of so many bytes is asked for: where three eighths of the last cache do not hold them.

        What several streams read or write by turns comes from memory two to four times as fast then. Other cores share the
        cache: arrays of its half that are used in turn find little there. Over a mesh that was not measured.
        """
        return moved > self.l3 * 3 // 8 and not self.is_meshed

    @cached_property
    def halved(self) -> "Machine | None":
        """The same by vectors of half the size, of which two run where one of the whole does; None where they bring nothing."""
        return replace(self, vector_bytes=self.vector_bytes // 2, units=2) if self.isa == "avx512" and self.units == 1 else None

    @property
    def masks(self) -> bool:
        """Whether a masked store takes about as long as a whole one: of AVX2, it is 20 cycles on AMD's processors."""
        return self.isa == "avx512"

    def lanes(self, dtype: np.dtype[Any]) -> int:
        """Elements of `dtype` in one vector."""
        return self.vector_bytes // dtype.itemsize

    def lanes_for(self, outputs: int, dtype: np.dtype[Any]) -> int:
        """Elements of the vector for rows of so many: half of the widest where that holds a row, since two run a cycle."""
        whole = self.lanes(dtype)
        return whole // 2 if self.isa == "avx512" and outputs <= whole // 2 else whole

    def flops(self, dtype: np.dtype[Any]) -> float:
        """About the multiply-adds a second of one core, as FLOP/s."""
        return CLOCK * 2 * self.units * self.lanes(dtype) / (1 if dtype.kind != "c" else 2)

    def seconds(self, cycles: float, moved: int = 0) -> float:
        """The time of so many cycles, and of moving bytes that the L2 cache does not hold."""
        near = max(0, min(moved, self.l3) - 4 * self.l2) / (5 * self.bandwidth)
        return cycles / CLOCK + near + max(0, moved - self.l3) / self.bandwidth


def _cache_sizes() -> tuple[int, int, int]:
    """Bytes of (L1 data, L2, L3), as Linux tells; a usual size elsewhere."""
    found = {1: 32 << 10, 2: 1 << 20, 3: 32 << 20}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        amount = re.fullmatch(r"(\d+)K", size)
        if amount and kind != "Instruction" and int(level) in found:
            found[int(level)] = int(amount[1]) << 10
    return found[1], found[2], found[3]


def _isa() -> str:
    from numba.core.registry import cpu_target

    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    if triple.startswith(("aarch64", "arm64")):
        return "neon"  # whatever the processor's name: "generic" is one of every architecture
    named = os.environ.get("NUMBA_CPU_NAME")
    if named in NAMED:
        return NAMED[named]
    return next(name for name, feature, *_ in X86 if f"+{feature}" in features.split(",") or not feature)


def _llvm_name() -> str:
    """The processor as LLVM names it."""
    from numba.core.registry import cpu_target

    return str(cpu_target.target_context.codegen().magic_tuple()[1])


@lru_cache(maxsize=1)
def host() -> Machine:
    """The machine that kernels are compiled for."""
    isa = _isa()
    vector_bytes, registers = {name: (width, count) for name, _, width, count in X86}.get(isa, (16, 32))
    name = _llvm_name()
    units = 1 if isa == "sse2" or (isa == "avx512" and name in ONE_UNIT) else 2
    cached = CACHED_FAR if name in MESHES else CACHED
    return Machine(isa, vector_bytes, registers, units, *_cache_sizes(), streamed=STREAMS.get(name, STREAMED), cached=cached)


@lru_cache(maxsize=1)
def memory() -> int:
    """Bytes of memory of this machine, or what its control group grants; no limit where the system does not tell."""
    found = 2**62
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        granted = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return found
    return min(found, int(granted)) if granted.isdigit() else found


def cpu_name() -> str:
    """The CPU's own name, where the system tells it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    import platform

    return found[1] if found else platform.processor() or platform.machine()
