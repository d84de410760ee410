"""The disk cache: it saves compiling and nothing else. Whatever is wrong with it costs a compilation, never an error."""

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from caching import PACKAGE, RIGHT, ROOT, SCRIPT, kernels, run

from fastconv.kernels.tidying import USED


def test_a_second_process_compiles_nothing(filled: Path) -> None:
    """It finds every signature, and writes no file."""
    before = {path: path.stat().st_mtime_ns for path in kernels(filled)}
    assert before
    result, compiled, _ = run({"NUMBA_CACHE_DIR": str(filled)})
    assert (result, compiled) == (RIGHT, 0)
    assert {path: path.stat().st_mtime_ns for path in kernels(filled)} == before


def test_files_are_private(filled: Path) -> None:
    """Folders and files are the user's own, and nobody else may write them."""
    (folder,) = (filled / "fastconv").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0 or stat.S_IMODE(folder.stat().st_mode) & 0o022 == 0
    for path in kernels(filled):
        assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    assert [path.name for path in folder.iterdir() if path.suffix != ".kernel"] == [USED], "temporary files stay behind"


def truncate(paths: list[Path]) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(paths: list[Path]) -> None:
    for path in paths:
        path.write_bytes(b"")


def garble(paths: list[Path]) -> None:
    for path in paths:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)


def replace_by_garbage(paths: list[Path]) -> None:
    for path in paths:
        path.write_bytes(b"no kernel" * 1000)


def swap(paths: list[Path]) -> None:
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)


def make_folders(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
        path.mkdir()


def make_loops(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
        path.symlink_to(path.name)


DAMAGES = (truncate, empty, garble, replace_by_garbage, swap, make_folders, make_loops)


@pytest.mark.parametrize(
    "damage",
    [pytest.param(one, marks=() if one in (truncate, swap, make_folders) else pytest.mark.slow) for one in DAMAGES],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_file_is_a_miss(filled: Path, damage: Callable[[list[Path]], None]) -> None:
    """Every file cut, emptied, altered by a bit, overwritten, swapped with another, or no file at all: compiled again."""
    damage(kernels(filled))
    result, compiled, _ = run({"NUMBA_CACHE_DIR": str(filled)})
    assert result == RIGHT
    assert compiled > 0


def test_a_damaged_file_is_written_anew(filled: Path) -> None:
    """So that the process after the next compiles nothing."""
    truncate(kernels(filled))
    run({"NUMBA_CACHE_DIR": str(filled)})
    assert run({"NUMBA_CACHE_DIR": str(filled)})[:2] == (RIGHT, 0)


@pytest.mark.exhaustive
def test_edited_sources_look_elsewhere(filled: Path, tmp_path: Path) -> None:
    """A comment in a file that all families share is enough: another folder, all compiled, the result of the new source."""
    shutil.copytree(PACKAGE, tmp_path / "site" / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {"NUMBA_CACHE_DIR": str(filled), "PYTHONPATH": str(tmp_path / "site")}
    _, compiled, folder = run(environment)
    assert compiled == 0, "the same sources in another place have the same folder"
    edited = tmp_path / "site" / "fastconv" / "kernels" / "activations.py"
    edited.write_text(edited.read_text() + "\n# another source\n")
    result, compiled, other = run(environment)
    assert result == RIGHT
    assert compiled > 0
    assert other != folder


def test_another_cpu_looks_elsewhere(filled: Path) -> None:
    """Code for one kind of CPU is not run on another."""
    _, _, usual = run({"NUMBA_CACHE_DIR": str(filled)})
    result, compiled, other = run({"NUMBA_CACHE_DIR": str(filled), "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""})
    assert result == RIGHT
    assert compiled > 0
    assert other != usual


@pytest.mark.parametrize(
    "library",
    [
        pytest.param("numba.__version__", marks=pytest.mark.exhaustive),
        *(pytest.param(other, marks=pytest.mark.slow) for other in ("np.__version__", "sys.version")),
    ],
)
def test_another_version_looks_elsewhere(filled: Path, library: str) -> None:
    """Numba's, NumPy's or Python's: everything is compiled anew, in a folder of its own."""
    _, _, usual = run({"NUMBA_CACHE_DIR": str(filled)})
    module = library.partition(".")[0]
    change = f"import sys, numba\nimport numpy as np\nassert {module}\nfrom fastconv.kernels import cache\n{library} += '1'\n"
    # The name of the folder is taken as the first kernel asks for it.
    result, compiled, other = run({"NUMBA_CACHE_DIR": str(filled)}, change + SCRIPT)
    assert result == RIGHT
    assert compiled > 0
    assert usual is not None
    assert other is not None
    assert other.name != usual.name


def test_every_source_that_a_kernel_is_made_of_is_in_the_key(tmp_path: Path) -> None:
    """Of every file that kernels may import, one more line gives another hash: to all kernels, or to those of its family."""
    from fastconv.kernels import cache

    shutil.copytree(PACKAGE, tmp_path / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    package = tmp_path / "fastconv"
    folders = [path for path in sorted((package / "kernels" / "simd").iterdir()) if path.is_dir()]
    assert len(folders) > 5

    def digests() -> dict[str, str | None]:
        modules = {folder.name: f"fastconv.kernels.simd.{folder.name}.module" for folder in folders}
        return {
            "all": cache.sources_digest.__wrapped__(),
            **{name: cache.family_digest.__wrapped__(module) for name, module in modules.items()},
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "PACKAGE", package)
        before = digests()
        assert None not in before.values()
        plain = package / "kernels" / "filters"  # is never compiled, and no kernel imports it
        for path in [package / "machine.py", *(package / "problem").rglob("*.py"), *(package / "kernels").rglob("*.py")]:
            if path.parent == plain:
                continue
            path.write_text(path.read_text() + "\n")
            after = digests()
            changed = {name for name in before if before[name] != after[name]}
            family = path.parent.name if path.parent in folders else ""
            own = {"all"} if family in ("", "engine", "vector") else {family}
            assert own <= changed <= own | {family}, path
            before = after


@pytest.mark.exhaustive
def test_an_edited_family_is_compiled_anew_and_the_others_are_not(tmp_path: Path) -> None:
    """A kernel's file is found again after an edit in another family's folder, and not after one in its own."""
    shutil.copytree(PACKAGE, tmp_path / "site" / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path / "site")}
    simd = tmp_path / "site" / "fastconv" / "kernels" / "simd"
    script = SCRIPT.replace('implementation="loops"', 'implementation="direct"')
    counts = []
    for edited in (None, simd / "strassen" / "products.py", simd / "arrays" / "elementwise.py"):
        if edited is not None:
            edited.write_text(edited.read_text() + "\n# another source\n")
        result, compiled, _ = run(environment, script)
        assert result == RIGHT
        counts.append(compiled)
    assert counts[0] > 0
    assert counts[1] == 0
    assert counts[2] > 0


# What can go wrong as files are written ------------------------------------------------------------------------------------

FULL_DISK = """
import errno, io, os, tempfile
plain_open = open
class Full(io.FileIO):
    written = 0
    def write(self, content):
        half = len(content) // 2
        super().write(content[:half])
        Full.written += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
def full_open(file, mode="r", *arguments, **options):
    return Full(file, mode) if isinstance(file, int) and mode == "wb" else plain_open(file, mode, *arguments, **options)
from fastconv.kernels import cache
cache.open = full_open
"""


def left_in(folder: Path) -> list[Path]:
    """Files of a cache, but for the empty one that says when it was used."""
    return [path for path in folder.rglob("*") if path.is_file() and (path.name != "used" or path.stat().st_size)]


@pytest.mark.exhaustive
def test_a_full_disk_costs_the_file_alone(tmp_path: Path) -> None:
    """Half a file is written and the disk is full: the result is right, and nothing is left behind."""
    result, compiled, _ = run({"NUMBA_CACHE_DIR": str(tmp_path)}, FULL_DISK + SCRIPT + "assert Full.written")
    assert result == RIGHT
    assert compiled > 0
    assert not left_in(tmp_path)
    assert run({"NUMBA_CACHE_DIR": str(tmp_path)})[0] == RIGHT
    assert kernels(tmp_path)


@pytest.mark.skipif(not ROOT or shutil.which("mount") is None, reason="only root can mount a disk of its own")
def test_a_disk_without_room(tmp_path: Path) -> None:
    """Eight kilobytes of disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        result, compiled, _ = run({"NUMBA_CACHE_DIR": str(disk)})
        assert result == RIGHT
        assert compiled > 0
        assert not left_in(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
