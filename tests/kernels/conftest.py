"""Of all tests of the disk cache."""

import shutil
from pathlib import Path

import pytest
from caching import RIGHT, run


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that one process has filled; tests take copies."""
    where = tmp_path_factory.mktemp("warm")
    result, compiled, folder = run({"NUMBA_CACHE_DIR": str(where)})
    assert result == RIGHT
    assert compiled > 0
    assert folder is not None
    assert folder.parent == where / "fastconv"
    return where


@pytest.fixture
def filled(warm: Path, tmp_path: Path) -> Path:
    """A copy of the filled cache."""
    shutil.copytree(warm, tmp_path / "cache")
    return tmp_path / "cache"
