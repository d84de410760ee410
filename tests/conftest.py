"""What every test module shares."""

from collections.abc import Iterator

import numpy as np
import pytest

import fastconv as fc


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
