"""Compiled kernels on disk, so that a new process need not compile: every doubt about a file is a miss, never an error.

One file holds one compiled signature. Its folder is named by a hash of the sources that any kernel may be made of, the versions
of Python, NumPy, Numba, llvmlite and the C library, and the CPU; its key has the hash of the kernel's own family. Edited
sources, another Numba or another CPU look elsewhere. A file begins with the SHA-256 of the rest and repeats its own key, so
that a truncated, damaged or swapped file is noticed before it is unpickled.
Files are pickles, which run code when read: folder and file must belong to this user, or to the administrator, and be writable
by nobody else. A folder that cannot be written serves what it has: an image of a container can hold one.
"""

import contextlib
import hashlib
import os
import pickle
import platform
import stat
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import compiler
from numba.core.caching import _Cache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from fastconv.kernels.claims import CLAIMS
from fastconv.kernels.notice import Notice
from fastconv.kernels.tidying import touched

NOTICE = Notice()
PACKAGE = Path(__file__).resolve().parent.parent
DIGEST = hashlib.sha256().digest_size


# What a kernel of any family may import, a test of the imports holds it to that, and what is compiled outside of all families.
SHARED: tuple[str, ...] = (
    "machine.py",
    "problem/**/*.py",
    "kernels/*.py",
    "kernels/compiling/*.py",
    "kernels/simd/*.py",
    "kernels/simd/engine/*.py",
)
SHARED += ("kernels/simd/vector/*.py", "kernels/gradients/*.py", "kernels/loops/*.py")
FAMILIES = "fastconv.kernels.simd."


def digest_of(patterns: tuple[str, ...]) -> str | None:
    """A hash of the package's files that match, or None where they cannot be read."""
    found = hashlib.sha256()
    try:
        paths = sorted({path for pattern in patterns for path in PACKAGE.glob(pattern)})
        for path in paths:
            found.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    except OSError:
        return None
    return found.hexdigest() if paths else None


@lru_cache(maxsize=1)
def sources_digest() -> str | None:
    """A hash of the sources that kernels of all families share."""
    return digest_of(SHARED)


@lru_cache(maxsize=32)
def family_digest(module: str) -> str | None:
    """A hash of the sources of the family that a module belongs to; of no file, of a module outside of all."""
    if not module.startswith(FAMILIES):
        return ""
    return digest_of((f"kernels/simd/{module.removeprefix(FAMILIES).split('.')[0]}/**/*.py",))


def _parents() -> Iterator[Path]:
    """Where caches may lie, best first."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / "fastconv"
        return
    with contextlib.suppress(RuntimeError, KeyError):
        if os.environ.get("XDG_CACHE_HOME"):
            yield Path(os.environ["XDG_CACHE_HOME"]) / "fastconv"
        elif sys.platform == "win32":
            yield Path(os.environ["LOCALAPPDATA"]) / "fastconv" / "cache"
        elif sys.platform == "darwin":
            yield Path.home() / "Library" / "Caches" / "fastconv"
        else:
            yield Path.home() / ".cache" / "fastconv"
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir()) / f"fastconv-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


def _ours(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user, or to the administrator, and nobody else can write it."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _made(folder: Path) -> bool:
    """Whether `folder` is there, after making it where it was not, and can be trusted."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and _ours(status)


def _name(cpu: tuple[Any, ...]) -> str | None:
    sources = sources_digest()
    if sources is None:
        return None
    system = (sys.platform, platform.machine(), *platform.libc_ver())  # not the kernel's version: containers move between hosts
    versions = (sys.version, np.__version__, numba.__version__, version("llvmlite"), system)
    return hashlib.sha256(repr((sources, versions, cpu)).encode()).hexdigest()[:24]


@lru_cache(maxsize=4)
def _folder(cpu: tuple[Any, ...], configured: str) -> Path | None:
    name = _name(cpu)
    if name is None:
        return None
    found = next((parent / name for parent in _parents() if _made(parent) and _made(parent / name)), None)
    if found is not None:
        touched(found)
    return found


def folder(codegen: Any = None) -> Path | None:
    """The folder in use on this CPU, or None where no folder can be trusted and written."""
    if codegen is None:
        from numba.core.registry import cpu_target

        codegen = cpu_target.target_context.codegen()
    return _folder(codegen.magic_tuple(), str(numba.config.CACHE_DIR))


def lasting_name(value: Any) -> str:
    """What stands for a function, or what it closes over, in every process: functions by name, plain values by repr."""
    function = getattr(value, "py_func", value)
    if hasattr(function, "__qualname__"):
        return f"{function.__module__}.{function.__qualname__}({_closure(function)})"
    if isinstance(value, (int, float, str, bool, tuple, np.dtype, np.generic)) or value is None:
        return repr(value)
    raise TypeError(f"a cached kernel closes over {value!r}, which has no lasting name")


def _closure(function: Any) -> str:
    return ", ".join(lasting_name(cell.cell_contents) for cell in getattr(function, "__closure__", None) or ())


class DiskCache(_Cache):  # type: ignore[misc]
    """What a Numba dispatcher asks for compiled signatures of one function, and hands new ones to."""

    def __init__(self, name: str, lasting_name: str, module: str) -> None:
        self._name, self._lasting_name, self._module = name, lasting_name, module
        self._enabled = True

    @property
    def cache_path(self) -> str:
        return str(folder())

    def enable(self) -> None:
        """Look on disk again."""
        self._enabled = True

    def disable(self) -> None:
        """Neither read nor write."""
        self._enabled = False

    def flush(self) -> None:
        """Nothing is held back: files are written as they come."""

    def _file(self, signature: Any, codegen: Any) -> tuple[Path, str] | None:
        where, family = folder(codegen), family_digest(self._module)
        if where is None or family is None or not self._enabled:
            return None
        key = repr((self._lasting_name, family, str(signature), codegen.magic_tuple()))
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        return where / f"{self._name}-{digest}.kernel", key

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled signature, or None where it is not to be had."""
        rtsys.initialize(target_context)
        try:
            found = self._file(signature, target_context.codegen())
            payload = None if found is None else _read(*found)
            if payload is None:
                NOTICE.begin(None if found is None else found[0].parent)
                payload = _read(*found) if found is not None and CLAIMS.take(found[0]) else None
            if payload is not None:
                return compiler.CompileResult._rebuild(target_context, *payload)
        except Exception:  # whatever is wrong with a file, compiling again mends it
            NOTICE.begin(None)
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Write a compiled signature for later processes, where that can be done."""
        try:
            if result.library.has_dynamic_globals or any(not lifted.can_cache for lifted in result.lifted):
                return
            found = self._file(signature, result.codegen)
            if found is not None:
                path, key = found
                _write(path, dumps((key, result._reduce())))
        except Exception:  # a kernel that is not saved works all the same
            return


def _read(path: Path, key: str) -> Any:
    """The payload stored under `key`, or None."""
    try:
        with open(path, "rb") as file:
            if not _ours(os.fstat(file.fileno())):
                return None
            content = file.read()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        return None
    stored, payload = pickle.loads(content[DIGEST:])
    return payload if stored == key else None


def _write(path: Path, content: bytes) -> None:
    """The whole file at once, under a name of its own until it is complete."""
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
