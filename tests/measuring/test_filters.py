"""Functions of SciPy's names beside SciPy and OpenCV: calls, tables, the sheet of pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastconv.measuring import filters, gallery
from fastconv.measuring.filters import Call, Row, call_of, compared

Run = Callable[..., tuple[int, str, str]]


def test_calls_have_usual_values() -> None:
    """What is not given has a value, and what is given takes its place."""
    assert str(call_of("ndimage.gaussian_filter", (8, 9))) == "ndimage.gaussian_filter(8x9, sigma=1.0) float32"
    call = call_of("ndimage.correlate", (8, 9), "uint8", "wrap", kernel=(3, 5))
    assert (call.x.dtype, call.operands[0].shape, call.options) == (np.uint8, (3, 5), {"mode": "wrap"})
    assert call_of("ndimage.correlate1d", (8, 9), kernel=7).operands[0].shape == (7,)
    assert call_of("ndimage.sobel", (8, 9)).options == {}


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("ndimage.nothing", {}, "must be a convolution, a pool or one of"),
        ("nowhere.gaussian_filter", {}, "must be a convolution, a pool or one of"),
        ("ndimage.sobel", {"size": 3}, "takes nothing beside the shape"),
        ("ndimage.gaussian_filter", {"size": 3}, "takes --sigma beside the shape"),
        ("ndimage.generic_laplace", {}, "cannot be compared by its shape"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, given: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call_of(name, (8, 9), **given)


def test_libraries_are_compared() -> None:
    """fastconv first; SciPy's result is what others are compared with; who is not there, or cannot, says why."""
    pytest.importorskip("scipy")
    rows = compared(call_of("ndimage.gaussian_filter", (40, 50), sigma=1.5), seconds=0.01)
    assert [row.library for row in rows] == ["fastconv", "scipy", "cv2"]
    assert all(row.seconds or row.note for row in rows)
    assert rows[0].difference is not None
    assert rows[0].difference < 1e-5
    assert compared(call_of("ndimage.gaussian_filter", (40,)), seconds=0.01)[2].note
    assert len(compared(call_of("ndimage.sobel", (40, 50)), rivals=False, seconds=0.01)) == 1


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    call = call_of("ndimage.sobel", (20, 20))
    right = Call.of

    def wrong(self: Call, package: str) -> Callable[[], np.ndarray]:
        made = right(self, package)
        return made if package == "scipy" else lambda: made() + 1

    monkeypatch.setattr(Call, "of", wrong)
    with pytest.raises(RuntimeError, match="differs from SciPy by 1"):
        compared(call, seconds=0.01)


def test_the_command_prints_a_table(run: Run) -> None:
    pytest.importorskip("rich")
    code, out, _ = run("compare", "--op", "ndimage.gaussian_filter", "--shape", "40x50", "--sigma", "1.5", "--seconds", "0.01")
    assert code == 0
    assert "ndimage.gaussian_filter(40x50, sigma=1.5) float32" in out
    assert "fastconv" in out
    assert max(map(len, out.splitlines())) <= 80
    command = ("compare", "--op", "ndimage.correlate", "--shape", "40x50", "--kernel", "3", "--seconds", "0.01", "--json")
    code, out, _ = run(*command)
    document = json.loads(out)
    assert document["function"] == "ndimage.correlate"
    assert document["shapes"] == [[40, 50], [3, 3]]
    assert document["rows"][0]["library"] == "fastconv"


@pytest.mark.parametrize(
    "more", [("--sigma", "1", "--op", "conv2d"), ("--op", "ndimage.sobel", "--groups", "2"), ("--op", "ndimage.sobel")]
)
def test_options_that_do_not_go_together(run: Run, more: tuple[str, ...]) -> None:
    code, _, err = run("compare", *(("--shape", "9x9") if more[-1] != "ndimage.sobel" else ()), *more)
    assert code == 2
    assert "--" in err


def test_the_gallery_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every filter runs on a small image, and the sheet is a picture."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(gallery, "SECONDS", 0.001)
    image = np.random.default_rng(0).random((48, 40))
    pictures = list(gallery.filtered(image))
    assert [one.title for one in pictures] == [title for title, _, _ in gallery.FILTERS]
    assert all(one.image.shape == image.shape for one in pictures)
    path = gallery.sheet(image, pictures, tmp_path / "sheets")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_rows_are_documented() -> None:
    call = call_of("ndimage.sobel", (8, 9))
    assert json.loads(filters.document(call, [Row("fastconv", 1.0)]))["rows"] == [
        {"library": "fastconv", "seconds": 1.0, "difference": None, "note": ""}
    ]
