"""What other versions left in the disk cache is removed in the end.

A folder is of one version of the sources, of Python, NumPy and Numba, and of one kind of CPU (see cache.py). Processes touch
the file `used` in theirs, at most once a day. Folders that none touched for 30 days go; and where all together take over 500
MB, those that were touched longest ago, until the others take less. The folder in use never goes, and neither does what
fastconv did not make. A process whose folder goes while it runs compiles again what it asks for next, as it would from an empty
cache.
"""

import contextlib
import os
import re
import stat
import time
from pathlib import Path
from typing import NamedTuple

USED = "used"
DAY = 86_400.0  # seconds
KEPT = 30 * DAY
MOST = 500 << 20  # bytes of all folders
NAME = re.compile("[0-9a-f]{24}")
FILE = re.compile(r".+-[0-9a-f]{32}\.kernel.*")  # a kernel, or one that was being written


class Left(NamedTuple):
    """A folder of the cache: when it was used last, and the bytes of its files."""

    used: float
    size: int
    folder: Path


def touched(folder: Path, now: float | None = None) -> None:
    """Note that a folder is in use; the first time of a day, also remove what others left beside it."""
    now = time.time() if now is None else now
    with contextlib.suppress(OSError):
        if now - used_at(folder) < DAY and (folder / USED).exists():
            return
        (folder / USED).touch(mode=0o600)
        os.utime(folder / USED, (now, now))
        tidy(folder, now)


def used_at(folder: Path) -> float:
    """When a process touched a folder last; for folders without a note, when a kernel came."""
    try:
        return (folder / USED).stat().st_mtime
    except OSError:
        return folder.stat().st_mtime


def tidy(current: Path, now: float) -> list[Path]:
    """Remove the folders beside the current one that are old, or too many; returns them."""
    others = [found for path in current.parent.iterdir() if path != current and (found := left_in(path)) is not None]
    mine = left_in(current)
    size, removed = sum(one.size for one in others) + (mine.size if mine else 0), []
    for one in sorted(others):
        if now - one.used > KEPT or size > MOST:
            remove(one.folder)
            removed.append(one.folder)
            size -= one.size
    return removed


def left_in(folder: Path) -> Left | None:
    """What a folder of fastconv's making holds; None of any other, and of one of another user."""
    with contextlib.suppress(OSError):
        status = folder.lstat()
        mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        if not (NAME.fullmatch(folder.name) and stat.S_ISDIR(status.st_mode) and mine):
            return None
        files = list(os.scandir(folder))
        if all(file.is_file(follow_symlinks=False) and (file.name == USED or FILE.fullmatch(file.name)) for file in files):
            return Left(used_at(folder), sum(file.stat(follow_symlinks=False).st_size for file in files), folder)
    return None


def remove(folder: Path) -> None:
    """A folder and its files; what another process writes meanwhile stays, and goes another day."""
    with contextlib.suppress(OSError):
        for file in os.scandir(folder):
            os.unlink(file.path)
        folder.rmdir()
