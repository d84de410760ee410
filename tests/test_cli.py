"""The command line: its tables, its JSON, its exit codes, and its manners where it is piped, interrupted or mistaken."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastconv import api, cli, demo, layers, measuring
from fastconv.comparison import Comparison, Row
from fastconv.layers import Layer
from fastconv.reporting import CaseResult, Results, digits, duration, scaled

pytest.importorskip("rich", reason="tables need rich")

SMALL = ["compare", "--op", "conv2d", "--shape", "1x3x8x8", "--weight", "4x3x3x3", "--seconds", "0.01"]
FEW = [*SMALL, "--implementations", "loops,reference"]
MACHINE = {"cpu": "a CPU", "isa": "avx2", "threads": 2, "fma_peak_gflops": 260.0, "copy_gbytes_per_second": 30.0}


@pytest.fixture(autouse=True)
def threads_stay():
    """A command may set the number of threads; the next test has the old one."""
    before = api.get_num_threads()
    yield
    api.set_num_threads(before)


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def process(*arguments, **options):
    """The command as a process of its own."""
    command = [sys.executable, "-m", "fastconv", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# Tables and JSON --------------------------------------------------------------------------------------------------------


def test_a_case_is_a_table_that_fits_80_columns_without_colour(run):
    code, out, err = run(*FEW)
    assert code == 0
    assert err == ""
    assert "loops" in out
    assert "Checked against the reference loops: all outputs." in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_json_has_the_documented_keys(run):
    code, out, err = run(*FEW, "--stride", "2", "--padding", "1", "--layout", "NHWC", "--threads", "1", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document.keys() == {"format", "version", "complete", "machine", "cases", "totals"}
    assert (document["format"], document["version"], document["complete"]) == ("fastconv-compare", 1, True)
    assert document["machine"].keys() == {*MACHINE, "python", "numpy", "numba", "fastconv"}
    assert document["machine"]["threads"] == 1
    (case,) = document["cases"]
    assert case.keys() == {
        *("name", "operation", "x_shape", "w_shape", "arguments", "layout", "dtype", "count", "flops", "bytes", "rows")
    }
    assert case["x_shape"] == [1, 3, 8, 8]
    assert case["arguments"] == {"stride": 2, "padding": 1}
    assert (case["layout"], case["dtype"], case["flops"]) == ("NHWC", "float32", 2 * 4 * 16 * 27)
    assert {row["implementation"] for row in case["rows"]} == {"loops", "reference"}
    assert set(case["rows"][0]) == set(Row.__dataclass_fields__)
    assert document["totals"] == []


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


def full_results(network):
    """Results with the longest names and numbers that there are, made up."""
    rows = [
        Row("winograd", auto=True, status="ok", verified="9,999 of 9,999,999 outputs", seconds=1.234e-4, gflops=1234.5),
        Row("reference", status="ok", verified="9,999 of 9,999,999 outputs", seconds=98765.4, note="extrapolated from " * 3),
        Row("torch_channels_last", peer=True, status="ok", verified="all outputs", seconds=2.345e-4, note="2.13.0+cpu"),
        Row("depthwise", status="wrong", verified="wrong at 12 of all outputs; " * 4, max_error=1.0),
        Row("scipy", peer=True, status="skipped", verified="does not sum over channels " * 4),
    ]
    rate = {"gflops": 1234.5, "gbytes_per_second": 0.000123, "speedup": 1234567.8, "share_of_peak": 2.345, "max_error": 1.2e-5}
    rows = [Row(**{**row.__dict__, **(rate if row.seconds else {})}) for row in rows]
    longest = max((name.partition(".")[2] for name in layers.names()), key=len)
    layer = Layer(f"densenet121.{longest}", "conv_transpose3d", (16, 1024, 99, 99, 99), (1024, 1024, 11, 11, 11), (), 99)
    case = CaseResult(layer, "NCDHW", "complex128", 10**15, 10**12, rows)
    return Results(MACHINE, network, True, [case])


@pytest.mark.parametrize("network", [None, "densenet121"])
def test_the_longest_of_everything_fits_80_columns(capsys, monkeypatch, network):
    monkeypatch.setenv("COLUMNS", "80")
    from fastconv import reporting

    reporting.show(full_results(network), cli._console())
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "WRONG" in out or network
    assert "…" not in out


def test_json_is_strict_where_numbers_are_not_finite():
    results = full_results(None)
    results.cases[0].rows[0] = Row("fft", max_error=float("inf"), speedup=float("nan"))
    row = json.loads(results.json())["cases"][0]["rows"][0]
    assert (row["max_error"], row["speedup"]) == (None, None)


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
    code, out, _ = run(*FEW)
    assert code == 130
    assert "loops" in out
    assert "Interrupted" in out
    code, out, _ = run(*FEW, "--json")
    assert code == 130
    document = json.loads(out)
    assert document["complete"] is False
    assert document["cases"][0]["rows"]


# As a process -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_ends_a_real_process_cleanly():
    program = (
        "import sys; from fastconv import cli, measuring; real = measuring._run\n"
        "def run(*arguments): print('begun', flush=True); real(*arguments)\n"
        "measuring._run = run; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "compare",
        "--layer",
        "vgg19.conv3_2",
        "--implementations",
        "loops",
        "--seconds",
        "60",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        while "begun" not in (line := running.stdout.readline()):
            assert line, running.communicate()
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Interrupted" in out
    assert "Traceback" not in err


def test_a_pipe_gets_no_colour_and_no_progress_and_may_close_early():
    running = process("compare", *FEW[1:], env={**os.environ, "TERM": "xterm-256color", "OPENBLAS_CORETYPE": "Haswell"})
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert "\x1b" not in out
    with process("layers") as running:
        assert running.stdout is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.wait(timeout=60) == 0


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
    assert "(2 times)" in out


def test_info_prints_machine_and_versions(run):
    code, out, _ = run("info")
    assert code == 0
    for word in ("instruction set", "threads", "kernel cache", "numba", np.__version__, "torch"):
        assert word in out


def test_warmup_says_where_kernels_went(run, monkeypatch):
    monkeypatch.setattr(api, "warmup", lambda: 7)
    code, out, _ = run("warmup")
    assert code == 0
    assert out.startswith("7 calls")


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
