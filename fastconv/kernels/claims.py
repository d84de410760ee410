"""Of the processes that ask for a kernel at the same time one compiles it, and the others wait for its file.

A claim is a lock on a file beside the kernel's, which the system lets go however its process ends. A lock that is not to be
had, within WAIT or at all, is done without: kernels that two processes compile are the same.
"""

import contextlib
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

WAIT = 20.0  # seconds
PAUSE = 0.01  # seconds between two looks


class Claims:
    """The locks that this process holds."""

    def __init__(self) -> None:
        self.held: list[tuple[Path, int]] = []

    def take(self, path: Path) -> bool:
        """Claim the kernel of a file. Returns whether another process had it until now: then the file may be there."""
        if fcntl is None:
            return False
        lock = path.with_name(f"{path.name}.lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError:
            return False
        waited, until = False, time.monotonic() + WAIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.held.append((lock, descriptor))
                return waited
            except OSError as error:
                if not isinstance(error, BlockingIOError) or time.monotonic() > until:
                    os.close(descriptor)
                    return waited
            waited = True
            time.sleep(PAUSE)

    def end(self) -> None:
        """Let go what is held: the kernels are there, or will not be."""
        while self.held:
            lock, descriptor = self.held.pop()
            with contextlib.suppress(OSError):
                lock.unlink()
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the lock too
            os.close(descriptor)


CLAIMS = Claims()
