"""What every test module shares."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

import fastconv as fc
from fastconv import cli

# Each compiles many kernels to show, by every tile, dtype or end, what other tests show on some, or starts many processes:
# exhaustive runs have them. Single tests of other files are marked where they stand.
EXHAUSTIVE = (
    "simd/test_[!vlr]*.py",
    "simd/test_requests.py",
    "simd/test_vector_*.py",
    "simd/test_row_tiles.py",
    "simd/test_running.py",
    "kernels/test_averages.py",
    "kernels/test_cache_folders.py",
    "kernels/test_cache_processes.py",
    "kernels/test_guards.py",
    "kernels/test_indices.py",
    "kernels/test_norms.py",
    "kernels/test_poison.py",
    "kernels/test_thread_processes.py",
    "ndimage/test_[!nc]*.py",
    "signal/test_signal_[!c]*.py",
    "gradients/test_weight_*.py",
    "gradients/test_winners.py",
    "operations/test_garbage.py",
    "measuring/test_report.py",
)
FILES = {path for pattern in EXHAUSTIVE for path in Path(__file__).parent.glob(pattern)}


def pytest_addoption(parser: pytest.Parser) -> None:
    """--share."""
    parser.addoption("--share", metavar="I/N", help="of the tests only those of the I-th of N shares, counted from 0")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves files of EXHAUSTIVE unread in ordinary runs, which would leave out all that is in them."""
    return True if collection_path in FILES and "not exhaustive" in config.option.markexpr else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks tests of EXHAUSTIVE before those that are not asked for are left out, and leaves out other shares."""
    share = config.getoption("--share")
    if share is not None:
        number, count = map(int, share.split("/"))
        others = [item for item in items if crc32(item.nodeid.encode()) % count != number]
        config.hook.pytest_deselected(items=others)
        left_out = set(others)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if item.path in FILES:
            item.add_marker(pytest.mark.exhaustive)


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
