"""Of all tests of the vector kernels."""

import pytest

from fastconv.kernels import keeping


@pytest.fixture(autouse=True)
def decisions(request):
    """What a test decides otherwise is for nobody else, and it finds no choice, launch or plan that was made before."""
    decides = "monkeypatch" in request.fixturenames
    if decides:
        keeping.forget()
    yield
    if decides:
        keeping.forget()
