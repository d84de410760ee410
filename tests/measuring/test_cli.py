"""The command line: its tables, its exit codes, and what it says where it is interrupted or mistaken."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import FEW, MACHINE, SMALL, full_results

import fastconv as api
from fastconv import cli
from fastconv.cli import comparing
from fastconv.measuring import demo
from fastconv.measuring import measure as measuring
from fastconv.measuring.comparison import Comparison, Row
from fastconv.measuring.layers import Layer
from fastconv.measuring.report.results import Results, digits, duration, scaled
from fastconv.operations import warming

pytest.importorskip("rich", reason="tables need rich")


# Tables -----------------------------------------------------------------------------------------------------------------


def test_a_case_is_a_table_that_fits_80_columns_without_colour(run):
    code, out, err = run(*FEW)
    assert code == 0
    assert err == ""
    assert "loops" in out
    assert "Checked against the reference loops: all outputs." in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_a_network_has_totals_over_layers_times_counts(run, monkeypatch):
    tiny = [
        Layer("net.conv", "conv2d", (1, 3, 8, 8), (4, 3, 3, 3), (("padding", 1),), count=3),
        Layer("net.pool", "max_pool2d", (1, 4, 8, 8), None, (("kernel_size", 2),)),
    ]
    monkeypatch.setattr(cli.layers, "network", lambda name: tiny)
    code, out, _ = run("compare", "--network", "net", "--seconds", "0.01", "--json")
    assert code == 0
    document = json.loads(out)
    seconds = [next(row["seconds"] for row in case["rows"] if row["auto"]) for case in document["cases"]]
    auto = next(total for total in document["totals"] if total["implementation"] == "auto")
    assert auto["seconds"] == pytest.approx(3 * seconds[0] + seconds[1])
    assert (auto["served"], auto["layers"]) == (4, 4)
    code, out, _ = run("compare", "--network", "net", "--seconds", "0.01")
    assert code == 0
    assert "all layers, times their counts" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("network", [None, "densenet121"])
def test_the_longest_of_everything_fits_80_columns(capsys, monkeypatch, network):
    monkeypatch.setenv("COLUMNS", "80")
    from fastconv.measuring.report import results as reporting

    reporting.show(full_results(network), comparing.console())
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "WRONG" in out or network
    assert "…" not in out


def test_without_arguments_a_few_real_layers_are_compared(run, monkeypatch):
    seen = []
    monkeypatch.setattr(measuring, "measure", lambda chosen, **_: seen.extend(chosen) or Results(MACHINE, None, True))
    assert run("compare")[0] == 0
    assert [layer.name for layer in seen] == list(measuring.DEFAULT_LAYERS)
    assert len(seen) >= 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (2.5, "2.50 s"), (0.00208, "2.08 ms"), (4.12e-4, "412 us"), (3e-9, "3 ns"), (1234.0, "1,234 s")],
)
def test_durations_are_short(value, text):
    assert duration(value) == text


def test_numbers_have_three_digits():
    assert [digits(value) for value in (0.0, 0.01234, 1.234, 12.34, 123.4, 12345.0)] == [
        "0",
        "0.0123",
        "1.23",
        "12.3",
        "123",
        "12,345",
    ]
    assert [scaled(value) for value in (12, 231e6, 1.5e12)] == ["12 ", "231 M", "1.5 T"]


# Exit codes -------------------------------------------------------------------------------------------------------------


def test_a_wrong_result_exits_with_1(run, monkeypatch):
    honest = Comparison.rows
    monkeypatch.setattr(Comparison, "rows", lambda self: [Row("loops", status="wrong", verified="wrong at 1"), *honest(self)])
    code, out, _ = run(*FEW)
    assert code == 1
    assert "loops: wrong: wrong at 1" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "command"),
        (["nonsense"], "invalid choice"),
        (["compare", "--layer", "resnet50.res3"], "no layer is called 'resnet50.res3'"),
        (["compare", "--network", "resnet"], "no network is called 'resnet'"),
        (["compare", "--layer", "c3d.conv5", "--network", "c3d"], "--layer and --network exclude each other"),
        (["compare", "--op", "conv2d"], "--op needs --shape"),
        (["compare", "--op", "conv2d", "--shape", "1x3x8x8"], "needs --weight"),
        (["compare", "--shape", "1x3x8x8"], "--shape goes with --op"),
        (["compare", "--stride", "2"], "--stride goes with --op"),
        (["compare", "--op", "conv2d", "--shape", "1x3xQ", "--weight", "4x3x3x3"], "must be sizes joined by x"),
        ([*SMALL, "--padding", "0:1:2"], "must be pairs before:after"),
        ([*SMALL, "--groups", "2"], "groups"),
        ([*SMALL, "--dtype", "float33"], "float33"),
        ([*SMALL, "--layout", "NHCW"], "layout"),
        ([*SMALL, "--implementations", "magic"], "implementations must be some of"),
        ([*SMALL, "--peers", "jax"], "peers must be"),
        ([*SMALL, "--threads", "0"], "must be at least 1"),
        ([*SMALL, "--seconds", "-1"], "seconds must be above 0"),
        ([*SMALL, "--plot", "picture.bmp"], "--plot must end in .png, .svg, .pdf"),
        ([*SMALL, "--plot", "/no/such/folder/picture.png"], "--plot must lie in a folder that is there"),
        (["demo", "/no/such/image.png"], "/no/such/image.png"),
        (["layers", "resnet"], "no network is called 'resnet'"),
    ],
)
def test_a_mistaken_command_exits_with_2_and_says_why(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_help_exits_with_0(run):
    code, out, _ = run("compare", "--help")
    assert code == 0
    assert "--network" in out


def test_a_missing_package_is_named_with_the_way_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    code, _, err = run(*FEW)
    assert code == 2
    assert 'pip install "fastconv[bench]"' in err


def test_an_interruption_prints_what_was_measured_and_exits_with_130(run, monkeypatch):
    whole = Comparison.steps

    def interrupted(self):
        for step in whole(self):
            if "round 2" in step:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(Comparison, "steps", interrupted)
    monkeypatch.setattr(Comparison, "_timed_enough", lambda self, entry: entry.extrapolated)  # a second round, however slow
    code, out, _ = run(*FEW)
    assert code == 130
    assert "loops" in out
    assert "Interrupted" in out
    code, out, _ = run(*FEW, "--json")
    assert code == 130
    document = json.loads(out)
    assert document["complete"] is False
    assert document["cases"][0]["rows"]


# The other commands -----------------------------------------------------------------------------------------------------


def test_plot_writes_bars_and_a_roofline(run, tmp_path):
    pytest.importorskip("matplotlib")
    code, _, err = run(*FEW, "--plot", str(tmp_path / "case.png"))
    assert code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"case.png", "case-roofline.png"}
    assert err.count("wrote") == 2
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_layers_lists_a_network(run):
    code, out, _ = run("layers", "c3d")
    assert code == 0
    assert out.splitlines()[0].split() == ["c3d.conv1a", "conv3d", "1x3x16x112x112", "*", "64x3x3x3x3"]
    assert ", 2 times" in out


def test_every_listing_and_every_help_fits_80_columns(run):
    for arguments in (["layers"], ["--help"], *([name, "--help"] for name in ("compare", "layers", "demo", "info", "schema"))):
        code, out, _ = run(*arguments)
        assert code == 0
        assert len(out.splitlines()) > 2
        assert max(map(len, out.splitlines())) <= 80, arguments


def test_info_prints_machine_and_versions(run):
    code, out, _ = run("info")
    assert code == 0
    for word in ("instruction set", "threads", "kernel cache", "numba", np.__version__, "torch"):
        assert word in out


def test_warmup_says_where_kernels_went(run, monkeypatch):
    monkeypatch.setattr(warming, "usual", lambda: [("nothing", lambda: None)] * 7)
    code, out, _ = run("warmup", "--processes", "1")
    assert code == 0
    assert out.startswith(f"{7 * len({1, api.get_num_threads()})} calls")


def test_several_processes_warm_up_one_cache():
    """Each makes some of the calls, in the order they were asked for."""
    activations = [place for place, (text, _) in enumerate(warming.usual()) if text.startswith("relu by direct")]
    assert len(activations) == 2
    expected = [len({1, api.get_num_threads()})] * 2
    assert list(warming.made_by(2, activations)) == list(warming.made_by(1, activations)) == expected


def test_demo_walks_an_image_and_writes_pictures(run, tmp_path, monkeypatch):
    image = pytest.importorskip("matplotlib.image")
    monkeypatch.setattr(demo, "CROP", 48)
    image.imsave(tmp_path / "photo.png", np.random.default_rng(0).random((60, 52, 3)))
    code, out, _ = run("demo", str(tmp_path / "photo.png"), "--out", str(tmp_path / "maps"))
    assert code == 0
    assert "image 60 x 52, grey; the loops run on its central 48 x 48" in out
    assert out.count("x\n") >= 9  # a speedup for each step
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"walk.png", "layer1.png", "layer2.png", "layer3.png"}


def test_demo_has_a_photograph_of_its_own():
    pytest.importorskip("matplotlib")
    photograph = demo.photograph()
    assert photograph.shape == (600, 512)
    assert 0 <= photograph.min() < 0.1 < 0.9 < photograph.max() <= 1


@pytest.mark.parametrize(("size", "message"), [((20, 60, 3), "must be at least 42 x 42, got 20 x 60"), (None, "not an image")])
def test_demo_refuses_what_it_cannot_walk(run, tmp_path, size, message):
    image = pytest.importorskip("matplotlib.image")
    path = tmp_path / "photo.png"
    if size is None:
        Path(path).write_text("no picture")
    else:
        image.imsave(path, np.zeros(size))
    code, _, err = run("demo", str(path), "--out", str(tmp_path / "maps"))
    assert code == 2
    assert message in err


def test_the_smallest_image_leaves_one_cell_in_the_last_map():
    side = demo.smallest_side()
    *_, last = demo.walk(np.random.default_rng(0).random((side, side)))
    assert last.maps.shape == (1, 1, 1)
