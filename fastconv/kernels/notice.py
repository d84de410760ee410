"""A line that says what an interactive session waits for: compiling, where that takes over a second.

It is printed on stderr while the first kernels are compiled, once a process, and never into a pipe, a file or a program's own
output. FASTCONV_QUIET=1 hides it.
"""

import os
import sys
import threading
import time
from pathlib import Path

PATIENCE = 1.0  # seconds of compiling before anything is said
VARIABLE = "FASTCONV_QUIET"


class Notice:
    """Counts the time of compiling, and speaks when it passes PATIENCE.

    Attributes
    ----------
    spent : float
        Seconds of compiling that are over.
    told : bool
        Whether the line was printed.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.spent, self.told = 0.0, False
        self.begun: float | None = None
        self.timer: threading.Timer | None = None

    def begin(self, folder: Path | None) -> None:
        """A kernel that is in no cache is compiled from now on, and kept in `folder`."""
        if self.told or self.begun is not None or not is_interactive():
            return
        self.folder, self.begun = folder, time.perf_counter()
        self.timer = threading.Timer(max(0.0, PATIENCE - self.spent), self.tell)
        self.timer.daemon = True
        self.timer.start()

    def end(self) -> None:
        """It is compiled, or was found."""
        if self.begun is None:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.spent, self.begun, self.timer = self.spent + time.perf_counter() - self.begun, None, None

    def tell(self) -> None:
        """Print the line, once."""
        if self.told:
            return
        self.told = True
        print(line(self.folder), file=sys.stderr, flush=True)  # noqa: T201


def line(folder: Path | None) -> str:
    """What is printed."""
    kept = (
        "once for every session: no cache folder can be written"
        if folder is None
        else f"once: they are kept in {folder.parent}"
    )
    return f"fastconv: compiling kernels for this machine, {kept} ({VARIABLE}=1 hides this)"


def is_interactive() -> bool:
    """Whether somebody waits at a prompt: Python's or IPython's on a terminal, or a notebook's."""
    if os.environ.get(VARIABLE, "0") not in ("", "0") or sys.stderr is None:
        return False
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython is not None else None
    if shell is not None and hasattr(shell, "kernel"):
        return True
    return (shell is not None or hasattr(sys, "ps1")) and sys.stderr.isatty()
