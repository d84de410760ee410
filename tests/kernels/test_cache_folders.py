"""Where the disk cache lies, and what of it is not trusted: files are pickles, and another user may have put them there."""

import os
from pathlib import Path

import pytest
from caching import NOBODY, RIGHT, ROOT, SCRIPT, kernels, run


def test_the_cache_lies_where_users_look_for_it(tmp_path: Path) -> None:
    """NUMBA_CACHE_DIR, else XDG_CACHE_HOME, else ~/.cache."""
    home = {"HOME": str(tmp_path / "home")}
    for environment, parent in (
        (home, tmp_path / "home" / ".cache" / "fastconv"),
        ({**home, "XDG_CACHE_HOME": str(tmp_path / "xdg")}, tmp_path / "xdg" / "fastconv"),
        (
            {**home, "XDG_CACHE_HOME": str(tmp_path / "xdg"), "NUMBA_CACHE_DIR": str(tmp_path / "numba")},
            tmp_path / "numba" / "fastconv",
        ),
    ):
        folder = run(environment, LOOK)[2]
        assert folder is not None
        assert folder.parent == parent


LOOK = "import fastconv; from fastconv.kernels import cache; print(f'none, 0, {cache.folder()}')"


@pytest.mark.parametrize(
    "home",
    [None, *(pytest.param(one, marks=pytest.mark.slow) for one in ("missing/home", "file"))],
    ids=["unset", "missing", "file"],
)
def test_without_a_home(home: str | None, tmp_path: Path) -> None:
    """No HOME, one that is not there yet, or one that is no folder: another place of the user's own is found."""
    (tmp_path / "file").touch()
    result, _, folder = run({"HOME": home and str(tmp_path / home), "TMPDIR": str(tmp_path)})
    assert result == RIGHT
    assert home is None or (folder is not None and folder.is_relative_to(tmp_path))


@pytest.mark.parametrize(
    "where", ["/proc/fastconv", *(pytest.param(one, marks=pytest.mark.slow) for one in ("/dev/null", "file"))]
)
def test_a_place_that_cannot_be_written_means_no_cache(where: str, tmp_path: Path) -> None:
    """A file where the folder belongs, or a system that has no room for one: compiled, and right."""
    (tmp_path / "file").touch()
    result, compiled, folder = run({"NUMBA_CACHE_DIR": str(tmp_path / where)})
    assert result == RIGHT
    assert compiled > 0
    assert folder is None


def test_a_read_only_cache_is_used(filled: Path) -> None:
    """A folder without write permission holds files that are as good as ever: a process finds them, and changes nothing."""
    everything = [filled, *filled.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    before = {path: path.stat().st_mtime_ns for path in everything}
    try:
        result, compiled, folder = run({"NUMBA_CACHE_DIR": str(filled)})
        assert (result, compiled) == (RIGHT, 0)
        assert folder in everything
        assert {path: path.stat().st_mtime_ns for path in [filled, *filled.rglob("*")]} == before
    finally:
        for path in everything:
            path.chmod(path.stat().st_mode | 0o700)


@pytest.mark.skipif(not ROOT, reason="files belong to root where the tests are root's")
def test_a_cache_of_the_administrators_serves_every_user(filled: Path) -> None:
    """As in a container whose image was built with it: others read it, compile nothing and write nothing."""
    for path in [filled, *filled.rglob("*"), *filled.parents]:
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    before = {path: path.stat().st_mtime_ns for path in filled.rglob("*")}
    another = f"import os\nos.geteuid = lambda: {NOBODY}\n"  # another user may not be able to read this interpreter
    result, compiled, folder = run({"NUMBA_CACHE_DIR": str(filled)}, another + SCRIPT)
    assert (result, compiled) == (RIGHT, 0)
    assert folder is not None
    assert folder.parent == filled / "fastconv"
    assert {path: path.stat().st_mtime_ns for path in filled.rglob("*")} == before


# What is not trusted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "level"), [(0o777, "fastconv"), (0o775, "fastconv/*"), pytest.param(0o1777, "fastconv/*", marks=pytest.mark.slow)]
)
def test_a_folder_that_others_can_write_is_not_trusted(filled: Path, mode: int, level: str) -> None:
    """Files are pickles: nothing in it is read, and nothing is written to it."""
    (folder,) = filled.glob(level)
    folder.chmod(mode)
    before = {path: path.stat().st_mtime_ns for path in kernels(filled)}
    result, compiled, used = run({"NUMBA_CACHE_DIR": str(filled)})
    assert result == RIGHT
    assert compiled > 0
    assert used is None
    assert {path: path.stat().st_mtime_ns for path in kernels(filled)} == before


def test_a_file_that_others_can_write_is_not_trusted(filled: Path) -> None:
    for path in kernels(filled):
        path.chmod(0o666)
    result, compiled, _ = run({"NUMBA_CACHE_DIR": str(filled)})
    assert result == RIGHT
    assert compiled > 0


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("level", ["fastconv", "fastconv/*", "fastconv/*/*.kernel"])
def test_what_another_user_owns_is_not_trusted(filled: Path, level: str) -> None:
    """Neither a folder nor a file."""
    for path in filled.glob(level):
        os.chown(path, NOBODY, NOBODY)
    result, compiled, _ = run({"NUMBA_CACHE_DIR": str(filled)})
    assert result == RIGHT
    assert compiled > 0


def test_a_link_to_a_folder_is_not_trusted(filled: Path) -> None:
    """It may lead anywhere."""
    (folder,) = (filled / "fastconv").iterdir()
    folder.rename(filled / "elsewhere")
    folder.symlink_to(filled / "elsewhere")
    _, compiled, used = run({"NUMBA_CACHE_DIR": str(filled)})
    assert compiled > 0
    assert used is None


def test_a_pickle_of_another_program_is_not_run(filled: Path, tmp_path: Path) -> None:
    """A file whose digest does not fit is never unpickled, whatever it holds."""
    mark = tmp_path / "mark"
    attack = b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    for path in kernels(filled):
        path.write_bytes(b"\0" * 32 + attack)
    assert run({"NUMBA_CACHE_DIR": str(filled)})[0] == RIGHT
    assert not mark.exists()


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("mode", [0o777, *(pytest.param(one, marks=pytest.mark.slow) for one in (0o700, 0o755, 0o1777))])
def test_a_folder_in_the_shared_temporary_directory_that_another_user_made_first(mode: int, tmp_path: Path) -> None:
    """It has the name that ours would have: it is left alone, and there is no cache."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    squatted = shared / f"fastconv-{os.getuid()}"
    squatted.mkdir()
    os.chown(squatted, NOBODY, NOBODY)
    squatted.chmod(mode)
    (tmp_path / "file").touch()
    result, compiled, folder = run({"HOME": str(tmp_path / "file"), "TMPDIR": str(shared)})
    assert result == RIGHT
    assert compiled > 0
    assert folder is None
    assert not list(squatted.iterdir())
