"""SciPy's own tests of the functions that fastconv.signal has, run on fastconv's functions in a process of their own."""

import pytest
from scipy_runs import passed, run

pytest.importorskip("scipy.signal.tests", reason="SciPy's tests are not installed")

FILES = ("scipy.signal.tests.test_signaltools", "scipy.signal.tests.test_upfirdn")
CALLING = 12_055  # tests that call these functions, at least
SHARE, SEED = 0.02, 20261126  # of an ordinary run

RECURSIVE = "a recursive filter, which fastconv.signal does not serve"
LEFT_OUT = {
    r"TestLinearFilter\w+::test_\w*IIR": RECURSIVE,
    r"TestLinearFilter\w+::test_(zi_pseudobroadcast|bad_size_zi)\b": RECURSIVE,
    r"TestLinearFilter\w+::test_lfiltic\[.*\[(1, 0\.5, 1\.5|2, 1, 3)\]\]": RECURSIVE,
    r"::test_lfilter_notimplemented_input": f"{RECURSIVE}: the error would be SciPy's for its coefficients",
    r"::test_filtfilt_gust": f"{RECURSIVE}, which the test compares another function with",
    r"TestSOSFilt::test_(rank3|initial_conditions|initial_conditions_3d_axis1)\b": f"{RECURSIVE}, to compare sosfilt with",
    r"TestDecimate::test_(basic_IIR|phaseshift_IIR|zero_phase_IIR|complex_iir_dlti)\b": RECURSIVE,
    r"TestDecimate::test_(shape|long_float32|float16_upcast)\b": f"{RECURSIVE}: decimate's default",
    r"TestConvolve2d::test_large_array": "half a gigabyte, for offsets that other tests of fastconv reach",
}


@pytest.mark.exhaustive
def test_a_share_of_scipys_tests_passes(tmp_path):
    """Drawn by a seed: what an exhaustive run has time for; slow ones have all."""
    found = run(tmp_path, "signal", FILES, LEFT_OUT, share=SHARE, seed=SEED)
    assert passed(found) >= 0.9 * SHARE * CALLING
    assert len(found["calls"]) >= 5


@pytest.mark.slow
def test_scipys_tests_pass(tmp_path):
    """All but those that are named, which are at most one in a hundred of those that call fastconv."""
    found = run(tmp_path, "signal", FILES, LEFT_OUT)
    assert passed(found) + len(found["left_out"]) >= CALLING
    assert 0 < len(found["left_out"]) <= 0.01 * CALLING
    for pattern in LEFT_OUT.values():
        assert pattern in found["left_out"].values(), f"no test is left out for: {pattern}"
    from fastconv import signal

    assert found["calls"].keys() == set(signal.__all__)
