"""What the tests of the disk cache share: a process with a cache of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastconv

SECONDS = 120  # that a process may take, compilation included
PACKAGE = Path(fastconv.__file__).parent
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
NOBODY = 65534

# Prints "result, signatures compiled, cache folder": Numba tells of every compilation.
SCRIPT = """
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass
event.register("numba:compile", Listener())
import numpy as np
import fastconv as fc
from fastconv.kernels import cache
results = [fc.relu(np.arange(-4, 5).astype(dtype), implementation="loops").sum() for dtype in ("f4", "f8")]
print(f"{results[0]:g} {results[1]:g}, {len(compiled)}, {cache.folder()}")
"""
RIGHT = "10 10"


def run(environment: dict[str, str | None], code: str = SCRIPT, **options: Any) -> tuple[str, int, Path | None]:
    """(result, signatures compiled, cache folder) of a new process, which ends well and prints nothing else."""
    command = [sys.executable, "-W", "error", "-c", code]
    options = {"cwd": "/", "timeout": SECONDS, "capture_output": True, "text": True, **options}
    process = subprocess.run(command, env=variables(environment), **options)
    assert process.returncode == 0, process.stderr[-2000:]
    assert not process.stderr
    result, compiled, folder = process.stdout.strip().split(", ")
    return result, int(compiled), None if folder == "None" else Path(folder)


def variables(changes: dict[str, str | None]) -> dict[str, str]:
    """This process's environment without what concerns caches, and with changes; None leaves a variable out."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_")) and changes.get(k, v) is not None}
    return kept | {k: v for k, v in changes.items() if v is not None}


def kernels(where: Path) -> list[Path]:
    """The files of a cache."""
    return sorted(where.rglob("*.kernel"))
