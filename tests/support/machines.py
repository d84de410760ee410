"""Kinds of CPU that decisions are tested for, whatever runs the tests."""

from fastconv.machine import CACHED_FAR, STREAMS, Machine

# Vectors of half a line, 16 registers, and a last cache that is near: AMD's of 2021.
NARROW = Machine("avx2", 32, 16, l2=512 << 10)
# As Intel's server parts of 2023: a large L2 cache, and a last one far away.
MESHED = Machine("avx512", 64, 32, l1=48 << 10, l2=2 << 20, l3=260 << 20, cached=CACHED_FAR)
# Vectors of a line that run as two halves, and a last cache of a few cores: AMD's of 2022.
HALVING = Machine("avx512", 64, 32, units=1, streamed=STREAMS["znver4"])
