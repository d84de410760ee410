"""fastconv in SciPy's place: what is replaced, what goes on to SciPy, and that all of it can be undone."""

import inspect
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv import patching, signal

scipy = pytest.importorskip("scipy")
pytest.importorskip("scipy.signal")
pytest.importorskip("scipy.ndimage")


@pytest.fixture(autouse=True)
def _unpatched():
    """No patch is left behind."""
    yield
    fc.unpatch_scipy()


def originals():
    """SciPy's public functions, of those that there are."""
    return {name: getattr(scipy.signal, name) for name in signal.__all__}


def test_every_function_is_replaced_and_comes_back():
    before = originals()
    inner = scipy.signal._signaltools.lfilter
    patch = fc.patch_scipy()
    for name, original in before.items():
        replaced = getattr(scipy.signal, name)
        assert replaced is not original
        assert (replaced.__name__, replaced.__doc__) == (name, original.__doc__)
        assert inspect.signature(replaced) == inspect.signature(original)
        assert f"scipy.signal.{name}" in patch.names
    assert scipy.signal._signaltools.lfilter is not inner
    fc.unpatch_scipy()
    assert originals() == before
    assert scipy.signal._signaltools.lfilter is inner


def test_calls_are_fastconvs(rng):
    x, h, image = rng.standard_normal(5000), rng.standard_normal(99), rng.standard_normal((40, 50))
    with fc.patch_scipy():
        np.testing.assert_array_equal(scipy.signal.convolve(x, h), signal.convolve(x, h))
        np.testing.assert_array_equal(scipy.signal.upfirdn(h, x, 3, 2), signal.upfirdn(h, x, 3, 2))
        np.testing.assert_array_equal(scipy.signal.convolve2d(image, image[:3, :3]), signal.convolve2d(image, image[:3, :3]))


def test_scipys_own_modules_call_fastconv(rng, monkeypatch):
    """savgol_filter and filtfilt look their functions up in the modules that they are in."""
    calls = []

    def lfilter(*arguments, **options):
        calls.append(arguments)
        return signal.filters.lfilter(*arguments, **options)

    monkeypatch.setattr(signal, "lfilter", lfilter)
    x = rng.standard_normal(300)
    expected = scipy.signal.filtfilt([0.5, 0.5], 1.0, x)
    with fc.patch_scipy():
        found = scipy.signal.filtfilt([0.5, 0.5], 1.0, x)
    assert calls
    np.testing.assert_allclose(found, expected, rtol=0, atol=16 * np.finfo(float).eps * np.abs(x).max())


class Foreign:
    """An array of another library."""

    def __array__(self, dtype=None, copy=None):
        return np.arange(5.0)


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("lfilter", ([1.0], [1.0, 0.5], np.ones(9)), {}),
        ("decimate", (np.ones(200), 2), {}),
        ("resample_poly", (np.ones(20), 2, 1), {"window": "parzen"}),
        ("convolve", (np.array([1, 2], object), np.array([1, 2], object)), {"method": "direct"}),
        ("convolve", (Foreign(), np.ones(2)), {}),
        ("medfilt", (np.rec.array(np.array([1.0, 2.0, 3.0])),), {"kernel_size": 1}),
        ("convolve", (np.ma.masked_array([1.0, 2.0], [True, False]), np.ones(2)), {}),
    ],
)
def test_what_is_not_served_goes_on_to_scipy(name, arguments, options):
    expected = getattr(scipy.signal, name)(*arguments, **options)
    with fc.patch_scipy():
        found = getattr(scipy.signal, name)(*arguments, **options)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("convolve", ([1], [[1]])),
        ("upfirdn", ([], [1.0])),
        ("medfilt", ([1.0], 2)),
        ("convolve2d", ([1], [1])),
        ("lfilter", ()),
    ],
)
def test_errors_are_scipys_own(name, arguments):
    with pytest.raises((TypeError, ValueError)) as expected:
        getattr(scipy.signal, name)(*arguments)
    with fc.patch_scipy(), pytest.raises(type(expected.value)) as found:
        getattr(scipy.signal, name)(*arguments)
    assert str(found.value) == str(expected.value)


def test_it_can_be_nested_and_done_twice():
    before = originals()
    with fc.patch_scipy():
        patched = originals()
        with fc.patch_scipy():
            assert originals() == patched
        assert originals() == patched
    assert originals() == before
    fc.patch_scipy()
    with fc.patch_scipy():
        pass
    assert originals() != before
    fc.patch_scipy()
    fc.unpatch_scipy()
    assert originals() == before
    fc.unpatch_scipy()
    assert originals() == before


def test_many_threads_may_patch():
    before = originals()

    def work():
        for _ in range(20):
            with fc.patch_scipy():
                scipy.signal.convolve(np.ones(9), np.ones(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fc.unpatch_scipy()
    assert originals() == before


def test_every_room_that_there_is_has_its_functions_replaced():
    rooms = patching.tables()
    assert "signal" in rooms
    with fc.patch_scipy() as patch:
        for room, module in rooms.items():
            theirs = getattr(scipy, room)
            names = {name for name in module.__all__ if hasattr(theirs, name)}
            assert {f"scipy.{room}.{name}" for name in names} <= set(patch.names)


def test_scikit_image_gives_the_same(rng):
    """Functions of another library, which look SciPy's up when they call."""
    restoration = pytest.importorskip("skimage.restoration", reason="scikit-image is not installed")
    filters = pytest.importorskip("skimage.filters", reason="scikit-image is not installed")
    feature = pytest.importorskip("skimage.feature", reason="scikit-image is not installed")
    morphology = pytest.importorskip("skimage.morphology", reason="scikit-image is not installed")
    image = rng.random((96, 96))
    grey, disk = (255 * image).astype(np.uint8), morphology.disk(3)
    blur = np.ones((5, 5)) / 25
    calls = {
        "richardson_lucy": lambda: restoration.richardson_lucy(image, blur, num_iter=5),
        "gaussian": lambda: filters.gaussian(image, 2),
        "sobel": lambda: filters.sobel(image),
        "median": lambda: filters.median(image),
        "sato": lambda: filters.sato(image, sigmas=[1, 2]),
        "structure_tensor": lambda: np.array(feature.structure_tensor(image, 1.5)),
        "canny": lambda: feature.canny(image, 2).astype(float),
        "dilation": lambda: morphology.dilation(grey, disk),
        "opening": lambda: morphology.opening(grey, disk),
        "white_tophat": lambda: morphology.white_tophat(grey, disk),
    }
    expected = {name: call() for name, call in calls.items()}
    with fc.patch_scipy() as patch:
        assert "scipy.ndimage.gaussian_filter" in patch.names
        found = {name: call() for name, call in calls.items()}
    for name in calls:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1000 * np.finfo(float).eps, err_msg=name)


def test_import_patches_nothing():
    code = (
        "import scipy.signal as s; before = s.convolve; import fastconv, fastconv.signal, fastconv.patching; "
        "assert s.convolve is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
