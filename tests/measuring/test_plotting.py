"""The pictures hold what they are given, and importing or drawing them touches no window system."""

import io
import subprocess
import sys

import numpy as np
import pytest

from fastconv.measuring.comparison import Row
from fastconv.measuring.report import plotting
from fastconv.measuring.report.maps import feature_maps

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

ROWS = [
    Row("direct", auto=True, status="ok", seconds=1e-3, gflops=200.0, gbytes_per_second=2.0, speedup=50000.0),
    Row("loops", status="ok", seconds=0.1, gflops=2.0, gbytes_per_second=0.02, speedup=500.0),
    Row("reference", status="ok", seconds=50.0, gflops=0.004, gbytes_per_second=4e-5, speedup=1.0),
    Row("torch", peer=True, status="ok", seconds=2e-3, gflops=100.0, gbytes_per_second=1.0, speedup=25000.0),
    Row("scipy", peer=True, status="skipped", verified="scipy does not sum over channels"),
]


def png(figure):
    """The picture's bytes, drawn."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def texts(axes):
    """All words on the axes."""
    return " ".join(text.get_text() for text in axes.texts)


def test_feature_maps_has_a_column_a_step_and_a_row_a_channel():
    rng = np.random.default_rng(0)
    signed, positive = rng.standard_normal((8, 6, 2)), rng.random((4, 3))
    figure = feature_maps([("conv", signed), ("pool", positive)], "two steps")
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert [image.get_array().shape for image in images] == [(8, 6), (4, 3), (8, 6)]
    assert images[0].get_clim()[0] == -images[0].get_clim()[1]  # zero is the white in the middle
    assert images[0].get_clim() == images[2].get_clim()  # one scale a step
    assert figure.axes[0].get_title(loc="left") == "conv"
    assert png(figure).startswith(b"\x89PNG")


def test_flat_maps_can_be_drawn():
    assert png(feature_maps([("zeros", np.zeros((3, 3)))]))


@pytest.mark.parametrize(("steps", "message"), [([], "at least one step"), ([("x", np.ones(3))], r"x must be .* shape \(3,\)")])
def test_feature_maps_refuses_what_is_no_picture(steps, message):
    with pytest.raises(ValueError, match=message):
        feature_maps(steps)


def test_bars_are_sorted_and_those_without_a_time_left_out():
    axes = plotting.speedup_bars(ROWS, "a case").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["reference", "loops", "torch", "direct"]
    assert [round(bar.get_width()) + 1 for bar in axes.patches] == [1, 500, 25000, 50000]
    assert axes.get_xscale() == "log"
    assert "50,000x" in texts(axes)
    assert "1 ms" in texts(axes)


def test_the_roofline_names_each_point_and_both_roofs():
    figure = plotting.roofline(ROWS, 260e9, 30e9, "a case")
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for word in ("direct", "loops", "torch", "260 GFLOP/s", "30 GB/s"):
        assert word in texts(axes)
    assert "reference" not in texts(axes)
    roof = axes.lines[0]
    assert max(roof.get_ydata()) == pytest.approx(260)
    bottom, top = axes.get_ylim()
    assert bottom < 2.0
    assert top > 260
    assert png(figure)


def test_a_roofline_without_a_measured_peak_has_the_memory_roof_alone():
    axes = plotting.roofline(ROWS, None, 30e9).axes[0]
    assert "GB/s" in texts(axes)
    assert "arithmetic" not in texts(axes)


def test_a_crowd_is_named_only_where_it_is_worst():
    crowd = [Row(f"layer{i}", auto=True, gflops=10.0 + i, gbytes_per_second=1.0 + i, speedup=1.0) for i in range(40)]
    named = texts(plotting.roofline(crowd, 260e9, 300e9).axes[0])
    assert named.count("layer") == plotting.NAMED // 2


@pytest.mark.parametrize("picture", [plotting.speedup_bars, lambda rows: plotting.roofline(rows, None, 1e9)])
def test_nothing_to_draw_is_an_error(picture):
    with pytest.raises(ValueError, match="at least one"):
        picture([ROWS[-1]])


def test_pictures_need_no_pyplot_and_importing_no_matplotlib():
    program = (
        "import sys; from fastconv.measuring.report import maps, plotting; assert 'matplotlib' not in sys.modules; "
        "maps.feature_maps([('a', [[0.0, 1.0]])]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
