"""The tour from loops to the machine's limit, on a small layer."""

from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the tour prints with rich")

import fastconv
from fastconv import cli
from fastconv.measuring import layers, tour
from fastconv.measuring.layers import Layer

SMALL = Layer("small", "conv2d", (1, 4, 8, 8), (4, 4, 3, 3), (("padding", 1),))
POOL = Layer("small", "max_pool2d", (1, 4, 8, 8), None, (("kernel_size", 2),))


@pytest.mark.parametrize("step", tour.STEPS, ids=lambda step: step.implementation)
def test_what_it_says_to_read_is_there(step):
    """The file, and the function in it."""
    assert (Path(fastconv.__file__).parent.parent / step.source).is_file()
    assert f"def {step.function}(" in Path(import_module(step.module).__file__).read_text(encoding="utf-8")


def test_every_step_is_measured_and_shown(monkeypatch, capsys, tmp_path):
    """In order, checked, within 80 columns, and on the page."""
    pytest.importorskip("matplotlib", reason="the page has a picture")
    monkeypatch.setattr(layers, "layer", lambda name: SMALL)
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["tour", "--seconds", "0.01", "--report", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
    places = [text.index(f"{number}  {step.implementation}") for number, step in enumerate(tour.STEPS, 1)]
    assert places == sorted(places)
    assert all(step.idea in page and step.function in page for step in tour.STEPS)
    assert text.count("times the loops") == len(tour.STEPS) - 1


def test_pools_have_no_tour(monkeypatch, capsys):
    monkeypatch.setattr(layers, "layer", lambda name: POOL)
    assert cli.main(["tour"]) == 2
    assert "needs a convolution" in capsys.readouterr().err
