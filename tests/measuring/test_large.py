"""The demonstration on a large image: zarr in, zarr out, and memory that does not grow with the image."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.measuring import large
from fastconv.measuring.report import plotting

Command = Callable[..., tuple[int, str, str]]
pytest.importorskip("dask.array", reason="dask is not installed")


def test_demo_stores_and_draws(run: Command, tmp_path: Path) -> None:
    """The result in zarr is that of the image in memory; the report tells sizes, time and memory, and a curve is drawn."""
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code, out, _ = run("demo", "--large", str(tmp_path / "large"), "--gigabytes", "0.0001")
    assert code == 0
    assert "image     158 x 158 float32" in out
    image = zarr.open(str(tmp_path / "large" / "image.zarr"), mode="r")[:]
    expected = fc.max_pool2d(fc.ndimage.gaussian_filter(image, large.SIGMA)[None], 2)[0]
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "large" / "result.zarr"), mode="r")[:], expected)
    assert (tmp_path / "large" / "memory.png").stat().st_size > 1000


def test_a_virtual_image_is_reduced(tmp_path: Path) -> None:
    """The means of the pooled image, as in memory."""
    found = large.virtual(tmp_path, 0.0004, chunk=(100, 90))
    image = large.image_of(0.0004, (100, 90)).compute(scheduler="synchronous")
    pool = fc.max_pool2d(fc.ndimage.gaussian_filter(image, large.SIGMA)[None], 2)
    means = np.load(found.result)
    eps = np.finfo(np.float32).eps  # where windows begin in a block decides the order of sums
    np.testing.assert_allclose(means, fc.avg_pool2d(pool, large.MEANS)[0], rtol=0, atol=eps * large.MEANS * np.abs(pool).max())
    assert found.memory.peak >= found.memory.bytes[0] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gigabytes", "1"), "--gigabytes and --virtual go with --large"),
        (("--virtual",), "--gigabytes and --virtual go with --large"),
        (("--large", "{}", "--filters"), "it takes no image and no --filters"),
        (("--large", "{}", "--gigabytes", "-1"), "--gigabytes must be above 0"),
        (("--large", "{}", "--gigabytes", "900000"), "take more than the"),
        (("--large", "{}", "--gigabytes", "1e-9", "--virtual"), "gigabytes must be enough for 8 x 8 cells"),
    ],
)
def test_demo_refuses(run: Command, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    code, _, error = run("demo", *(one.format(tmp_path) for one in arguments))
    assert code == 2
    assert message in error


def test_a_curve_needs_samples() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        plotting.memory_curve([], [], 1.0)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    """Eight gigabytes in less than three."""
    assert large.virtual(tmp_path, 8.0).memory.peak < 3e9
