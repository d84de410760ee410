"""Gradients beside torch's: what is computed is the same, what is wrong is told, and the table has room in 80 columns."""

import io
import json

import numpy as np
import pytest

from fastconv.measuring import backward
from fastconv.measuring.backward import Row
from fastconv.measuring.busy import Watch
from fastconv.measuring.layers import Layer
from fastconv.measuring.report import gradients as reporting

POOL = Layer("small.pool", "avg_pool2d", (1, 2, 6, 6), None, (("kernel_size", 2), ("stride", 2)))
CONV = Layer("small.conv", "conv2d", (1, 2, 6, 6), (3, 2, 3, 3), (("padding", ((1, 0), (0, 1))), ("stride", 2)))
ROWS = [
    Row("net.layer_of_a_long_name", 3, layout, operand, 1e-3, 2.5e-3, 1e-7)
    for layout in ("NCHW", "NHWC")
    for operand in ("x", "w")
]


@pytest.mark.parametrize("layer", [POOL, pytest.param(CONV, marks=pytest.mark.slow)], ids=lambda layer: layer.name)
def test_gradients_are_those_of_torch_in_both_layouts(layer):
    pytest.importorskip("torch", reason="gradients are compared with torch's")
    rows = list(backward.rows_of(layer, "float32", 0.01, Watch()))
    operands = ["x"] if layer.w_shape is None else ["x", "w"]
    assert [(row.layout, row.operand) for row in rows] == [(layout, one) for layout in ("NCHW", "NHWC") for one in operands]
    for row in rows:
        assert not row.wrong
        assert row.difference is not None
        assert row.difference < 1e-5
        assert row.ratio is not None
        assert row.ratio > 0


def test_a_wrong_gradient_is_told():
    """One cell of a hundred that is off by a thousandth of its terms; and a NaN."""
    theirs = np.ones((10, 10), np.float32)
    for value in (1.001, np.nan):
        mine = theirs.copy()
        mine[3, 3] = value
        assert backward._checked(ROWS[0], mine, theirs, theirs, 10).wrong
    assert not backward._checked(ROWS[0], theirs, theirs, theirs, 10).wrong


def test_the_table_fits_and_tells_what_is_wrong():
    console = pytest.importorskip("rich.console", reason="tables need rich")
    out = io.StringIO()
    wrong = Row("net.other", 1, "NCHW", "x", 1e-3, 1e-3, 0.5, wrong=True)
    absent = Row("net.third", 1, "NCHW", "x", 1e-3, note="ModuleNotFoundError: No module named 'torch'")
    watch = Watch(passed=1.0, held=0.5, load=3.0)
    reporting.show([*ROWS, wrong, absent], watch, console.Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "net.other NCHW by x: differs from torch's gradient by 5.0e-01" in out.getvalue()
    assert "No module named 'torch'" in out.getvalue()
    assert "Busy machine" in out.getvalue()
    assert "by w, times as fast as torch, geometric mean of all: 2.50 NCHW, 2.50 NHWC" in out.getvalue()


def test_the_mean_counts_layers_as_often_as_the_network_has_them():
    rows = [Row("a", 3, "NCHW", "x", 1.0, 2.0), Row("b", 1, "NCHW", "x", 1.0, 32.0), Row("c", 9, "NCHW", "x", 1.0)]
    assert backward.mean_ratio(rows) == pytest.approx(4.0)
    assert backward.mean_ratio(rows[2:]) is None


def test_json_has_all_rows():
    document = json.loads(reporting.document(ROWS, "fastconv compare --backward"))
    assert [row["ratio"] for row in document["rows"]] == [2.5] * 4
    assert document["format"] == "fastconv-compare-backward"


def test_the_page_has_means_pictures_and_all_rows(tmp_path):
    pytest.importorskip("matplotlib", reason="pages have pictures")
    from fastconv.measuring.report import gradients_html

    wrong = Row("net.other", 1, "NCHW", "x", 1e-3, 1e-3, 0.5, wrong=True)
    absent = Row("net.third", 1, "NHWC", "w", 1e-3, note="ModuleNotFoundError: No module named <torch>")
    command = "fastconv compare --backward"
    text = gradients_html.write([*ROWS, wrong, absent], Watch(passed=1.0, held=0.5, load=3.0), command, tmp_path).read_text()
    assert "<strong>2.50 times</strong>" in text
    assert text.count("<svg") == 4
    assert text.count('scope="row"') == 6
    assert "No module named &lt;torch&gt;" in text
    assert "net.other NCHW by x: differs" in text
    assert "Busy machine" in text
    assert command in text
