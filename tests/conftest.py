"""What every test module shares."""

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import fastconv as fc
from fastconv import cli


@pytest.fixture(scope="module", autouse=True)
def compilers_keep_what_they_made() -> Iterator[None]:
    """Later collections leave it alone: of millions of objects that live to the end of the run, each would take seconds."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers on every run."""
    return np.random.default_rng(20240607)


@pytest.fixture
def threads() -> Iterator[None]:
    """The number of threads as it was, once the test is over."""
    before = fc.get_num_threads()
    yield
    fc.set_num_threads(before)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, threads: None
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process, 80 columns wide; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
