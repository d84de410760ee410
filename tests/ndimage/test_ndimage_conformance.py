"""SciPy's own tests of the functions that fastconv.ndimage has, run on fastconv's functions in a process of their own."""

import pytest
from scipy_runs import passed, run

from fastconv import ndimage

pytest.importorskip("scipy.ndimage.tests", reason="SciPy's tests are not installed")

FILES = ("scipy.ndimage.tests.test_filters", "scipy.ndimage.tests.test_morphology")
CALLING = 3_048  # tests that call these functions, at least
SHARE, SEED = 0.01, 20261126  # of an ordinary run
LEFT_OUT = {
    r"::test_gaussian_filter_float16\b": "asks for an error with float16, which fastconv computes in float32",
    r"::test_white_tophat03\b": "hangs on bool arrays whose bytes are neither 0 nor 1, as SciPy writes them",
}


@pytest.mark.exhaustive
def test_a_share_of_scipys_tests_passes(tmp_path):
    """Drawn by a seed: what an exhaustive run has time for; slow ones have all."""
    found = run(tmp_path, "ndimage", FILES, LEFT_OUT, share=SHARE, seed=SEED)
    assert passed(found) >= 0.9 * SHARE * CALLING
    assert len(found["calls"]) >= 12


@pytest.mark.slow
def test_scipys_tests_pass(tmp_path):
    """All but those that are named, which are at most one in a hundred of those that call fastconv."""
    found = run(tmp_path, "ndimage", FILES, LEFT_OUT)
    assert passed(found) + len(found["left_out"]) >= CALLING
    assert 0 < len(found["left_out"]) <= 0.01 * CALLING
    for reason in LEFT_OUT.values():
        assert reason in found["left_out"].values(), f"no test is left out for: {reason}"
    assert found["calls"].keys() == set(ndimage.__all__)
