"""What other versions left in the cache goes in the end; what fastconv did not make, and the folder in use, never."""

import os
import time
from pathlib import Path

import pytest

from fastconv.kernels import notice, tidying

NOW = 2e9


def folder_of(parent: Path, letter: str, days: float, megabytes: int = 1) -> Path:
    """A folder of the cache that was used so many days ago; its one file takes no room on the disk."""
    folder = parent / (24 * letter)
    folder.mkdir()
    with open(folder / f"relu-{32 * '0'}.kernel", "wb") as file:
        file.truncate(megabytes << 20)
    (folder / tidying.USED).touch()
    os.utime(folder / tidying.USED, (NOW - days * tidying.DAY,) * 2)
    return folder


def names(parent: Path) -> set[str]:
    return {path.name[0] for path in parent.iterdir()}


def test_folders_that_nobody_used_for_thirty_days_go(tmp_path: Path) -> None:
    current = folder_of(tmp_path, "a", 0)
    for letter, days in (("b", 29.9), ("c", 30.1), ("d", 300)):
        folder_of(tmp_path, letter, days)
    removed = tidying.tidy(current, NOW)
    assert {path.name[0] for path in removed} == {"c", "d"}
    assert names(tmp_path) == {"a", "b"}


def test_the_least_recently_used_go_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    """Of 4 x 200 MB the two that were used last stay, and the one in use, however old its note is."""
    current = folder_of(tmp_path, "a", 90, 200)
    for letter, days in (("b", 3), ("c", 1), ("d", 2)):
        folder_of(tmp_path, letter, days, 200)
    tidying.tidy(current, NOW)
    assert names(tmp_path) == {"a", "c"}


def test_a_process_notes_its_use_once_a_day_and_tidies_then(tmp_path: Path) -> None:
    current, old = folder_of(tmp_path, "a", 0.9), folder_of(tmp_path, "b", 31)
    tidying.touched(current, NOW)
    assert old.exists()
    assert tidying.used_at(current) == NOW - 0.9 * tidying.DAY
    tidying.touched(current, NOW + 0.2 * tidying.DAY)
    assert not old.exists()
    assert tidying.used_at(current) == NOW + 0.2 * tidying.DAY


def test_what_fastconv_did_not_make_stays(tmp_path: Path) -> None:
    """Another name, another file in it, a folder in it, a link, a file: all of them very old."""
    current = folder_of(tmp_path, "a", 0)
    named = folder_of(tmp_path, "b", 99).rename(tmp_path / "notes")
    for letter in "cd":
        folder_of(tmp_path, letter, 99)
    (tmp_path / (24 * "c") / "thesis.txt").write_text("mine")
    (tmp_path / (24 * "d") / "deeper").mkdir()
    (tmp_path / (24 * "e")).symlink_to(named)
    (tmp_path / (24 * "f")).write_text("a file")
    before = names(tmp_path)
    assert tidying.tidy(current, NOW) == []
    assert names(tmp_path) == before
    assert (named / tidying.USED).exists()


def test_a_folder_into_which_another_process_writes_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new file is there; nothing is raised."""
    current, old = folder_of(tmp_path, "a", 0), folder_of(tmp_path, "b", 99)
    unlink = os.unlink

    def unlink_while_another_writes(path: str) -> None:
        unlink(path)
        (old / f"conv-{32 * '1'}.kernel").touch()

    monkeypatch.setattr(os, "unlink", unlink_while_another_writes)
    tidying.tidy(current, NOW)
    assert [path.name for path in old.iterdir()] == [f"conv-{32 * '1'}.kernel"]


# The line that says what is waited for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("interactive", [True, False])
def test_an_interactive_session_is_told_once(
    interactive: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """When compiling has taken PATIENCE in all, while it goes on; and nobody else is told."""
    monkeypatch.setattr(notice, "is_interactive", lambda: interactive)
    monkeypatch.setattr(notice, "PATIENCE", 0.2)
    one = notice.Notice()
    one.begin(tmp_path / "x")
    one.end()
    assert capsys.readouterr().err == ""
    for _ in range(2):
        one.begin(tmp_path / "x")
        time.sleep(0.5)
        told = capsys.readouterr().err
        one.end()
        if _ == 0 and interactive:
            assert told.count("\n") == 1
            assert str(tmp_path) in told
            assert notice.VARIABLE in told
        else:
            assert told == ""


def test_who_is_interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt on a terminal; not a pipe, not a script, not where FASTCONV_QUIET says so."""

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv(notice.VARIABLE, raising=False)
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    assert not notice.is_interactive()  # pytest's stderr is no terminal
    monkeypatch.setattr("sys.stderr", Terminal())
    assert notice.is_interactive()
    monkeypatch.setenv(notice.VARIABLE, "1")
    assert not notice.is_interactive()
    monkeypatch.delenv(notice.VARIABLE)
    monkeypatch.delattr("sys.ps1")
    assert not notice.is_interactive()
