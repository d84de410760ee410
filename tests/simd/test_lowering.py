"""What the kernels of every family become on AArch64, read on any machine: tests/support/lowering.py lowers them."""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import llvmlite.binding as llvm
import lowering
import pytest
from assembly import AARCH64, busiest, instructions, loops, sums

CPUS = ("generic", "neoverse-n1", "neoverse-v1", "apple-m1")


def has_target():
    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple(lowering.TRIPLE)
    except RuntimeError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_target(), reason="this LLVM was built without AArch64")


@lru_cache
def lowered(case, cpus):
    """{cpu: (kernel, assembly)}, by a process that takes itself for an AArch64 machine."""
    command = [sys.executable, lowering.__file__, ",".join(cpus), case]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment["PYTHONPATH"] = os.pathsep.join((str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[case]


def check(case, cpus):
    most = lowering.most_instructions(case)
    for cpu, (kernel, code) in lowered(case, cpus).items():
        where = f"{kernel} for {cpu}"
        assert kernel.endswith("_neon"), where
        assert not AARCH64.double.search(code), f"{where} does arithmetic in float64"
        inner = loops(code, AARCH64)
        assert inner, f"{where} has no loop"
        busy = busiest(code, AARCH64)
        busy = busy if busy in inner else sums(busy, AARCH64)  # what follows sums that are written out has branches
        for loop in [*inner, busy] if most else inner:
            on_stack = AARCH64.spill.findall(loop) + AARCH64.reload.findall(loop)
            assert not on_stack, f"{where} has vectors on the stack:\n{loop}"
        if most:
            products, steps = len(AARCH64.fma.findall(busy)), len(instructions(busy))
            assert 0 < steps <= most * products, f"{where} takes {steps} instructions for {products} fmla:\n{busy}"


def test_tiles_keep_to_the_registers_of_a_processor_with_none_to_spare():
    check("strassen, channels", CPUS[1:2])


@pytest.mark.slow
@pytest.mark.parametrize("case", lowering.CASES)
def test_every_family_keeps_to_its_registers(case):
    check(case, CPUS)
