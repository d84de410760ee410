"""One process compiles a kernel, and those that want it meanwhile wait."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from caching import SECONDS, kernels, variables

from fastconv.kernels import claims
from fastconv.kernels.claims import Claims

pytest.importorskip("fcntl", reason="locks of files are Unix's")

HOLD = """
import sys, time
from pathlib import Path
from fastconv.kernels.claims import CLAIMS
assert CLAIMS.take(Path(sys.argv[1])) is False
print("held", flush=True)
time.sleep(float(sys.argv[2]))
Path(sys.argv[1]).write_text("compiled")
CLAIMS.end()
"""


def holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that has the claim, and lets it go with the file written."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_claim_waits_for_the_one_before(tmp_path: Path) -> None:
    """And says that the file may be there; nothing but the file is left."""
    path, mine = tmp_path / "f32-0.kernel", Claims()
    process = holder(path, 0.3)
    assert mine.take(path)
    assert path.read_text() == "compiled"
    mine.end()
    process.communicate(timeout=SECONDS)
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_that_is_killed_keeps_no_claim(tmp_path: Path) -> None:
    path, mine = tmp_path / "f32-0.kernel", Claims()
    process = holder(path, 60)
    process.kill()
    process.communicate(timeout=SECONDS)
    begun = time.monotonic()
    mine.take(path)
    assert time.monotonic() - begun < claims.WAIT / 4
    assert len(mine.held) == 1
    mine.end()
    assert not list(tmp_path.iterdir())


def test_a_claim_that_is_not_let_go_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "WAIT", 0.1)
    path, first, second = tmp_path / "f32-0.kernel", Claims(), Claims()
    assert not first.take(path)
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert second.take(path)
    assert not second.held
    assert descriptors in (0, len(os.listdir("/proc/self/fd")))
    second.end()
    first.end()


@pytest.mark.parametrize("where", ["missing/f32-0.kernel", "file/f32-0.kernel"])
def test_a_folder_that_takes_no_lock_is_no_error(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    mine = Claims()
    assert not mine.take(tmp_path / where)
    assert not mine.held


def test_without_locks_each_process_compiles_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "fcntl", None)
    mine = Claims()
    assert not mine.take(tmp_path / "f32-0.kernel")
    mine.end()
    assert not list(tmp_path.iterdir())


def test_processes_that_begin_together_compile_each_kernel_once(tmp_path: Path) -> None:
    code = """
import numpy as np
import fastconv as fc
from fastconv.kernels.compiling.libraries import KernelLibrary
compiled, optimize = [], KernelLibrary._optimize_final_module
KernelLibrary._optimize_final_module = lambda library: (compiled.append(library), optimize(library))
fc.set_num_threads(1)
assert fc.max_pool2d(np.ones((1, 8, 9, 9), "f4"), 2, stride=1).sum() == 8 * 8 * 8
print(len(compiled))
"""
    environment, command = variables({"NUMBA_CACHE_DIR": str(tmp_path)}), [sys.executable, "-c", code]
    crew = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(process.communicate(timeout=SECONDS)[0]) for process in crew]
    assert sum(counts) == len(list(kernels(tmp_path))) > 0
