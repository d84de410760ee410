"""The command line: fastconv compare | tour | layers | demo | train | info | schema | warmup.

Exit codes: 0 all went well; 1 an implementation's result was wrong; 2 the command cannot be done as given; 130 Ctrl-C, after
what was measured has been printed.
"""

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as api
from fastconv import __version__
from fastconv.kernels import cache, processors
from fastconv.machine import cpu_name, host
from fastconv.measuring import layers
from fastconv.measuring.extras import MissingExtra, require

PEER_PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "ncnn", "mnn", "opencv-python-headless", "opencv-python", "scipy")
PICTURES = (".png", ".svg", ".pdf")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; the process's own if not given.
    """
    try:
        given = _parser().parse_args(argv)
        given.command_line = shlex.join(["fastconv", *(sys.argv[1:] if argv is None else argv)])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    if argv is None and given.command in ("compare", "tour"):
        _restart_for_blas(given.threads)
    try:
        code: int = given.run(given)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe has left: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (ValueError, TypeError, OSError, MissingExtra) as error:
        print(f"fastconv {given.command}: {error}", file=sys.stderr)
        return 2


def _restart_for_blas(count: int | None) -> None:
    """Starts anew, once, where the environment would mismeasure NumPy's matrix product.

    OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE can halve it, and only the environment tells BLAS its number of threads.
    """
    wanted = {key: value for key, value in os.environ.items() if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    if count is not None:
        wanted |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(count))
    if os.name == "posix" and wanted != dict(os.environ):
        os.execve(sys.executable, sys.orig_argv, wanted)


# Arguments --------------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastconv", description="Fast convolution and pooling for NumPy arrays on the CPU.")
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_compare(commands)
    tour = commands.add_parser("tour", help="from loops to the machine's limit, an idea a step, on one layer")
    tour.add_argument("--layer", default=None, metavar="NAME", help="a convolution of the named layers (resnet50.res3_3x3)")
    tour.add_argument("--threads", type=_positive, default=1, metavar="N", help="of fastconv and BLAS (%(default)s)")
    tour.add_argument("--seconds", type=float, default=None, metavar="S", help="of timing for each step (0.3)")
    tour.add_argument("--report", type=Path, metavar="DIR", help="write DIR/index.html, the same as a page with a picture")
    tour.set_defaults(run=_shown("show_tour"))
    listing = commands.add_parser("layers", help="list the named layers")
    listing.add_argument("network", nargs="?", help=f"one of {', '.join(layers.networks())}")
    listing.set_defaults(run=_layers)
    demo = commands.add_parser("demo", help="a CNN's first layers on a photograph, fast and with plain loops")
    demo.add_argument("image", nargs="?", type=Path, help="any image file; a sample photograph if not given")
    demo.add_argument("--filters", action="store_true", help="fastconv.ndimage's filters on it instead, beside SciPy's times")
    demo.add_argument(
        "--large", type=Path, metavar="DIR", help="an image of gigabytes with dask instead: zarr in DIR, and a memory curve"
    )
    demo.add_argument("--gigabytes", type=float, metavar="G", help="of the large image (2, or a quarter of the free disk)")
    demo.add_argument("--virtual", action="store_true", help="the large image is computed as it is read, and never stored")
    demo.add_argument("--out", type=Path, default=Path("fastconv-demo"), metavar="DIR", help="where pictures go (%(default)s)")
    demo.set_defaults(run=_shown("show_walk"))
    train = commands.add_parser("train", help="train a small CNN on handwritten digits, in NumPy and fastconv")
    train.add_argument("--epochs", type=_positive, default=20, metavar="N", help="passes over the images (%(default)s)")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="of the first weights (%(default)s)")
    train.add_argument("--threads", type=_positive, metavar="N", help="of fastconv, and of torch (all)")
    train.add_argument("--peers", action="store_true", help="time the same network in torch beside it")
    train.add_argument(
        "--out", type=Path, default=Path("fastconv-train"), metavar="DIR", help="where pictures go (%(default)s)"
    )
    train.set_defaults(run=_shown("show_training"))
    commands.add_parser("info", help="CPU, threads, cache and versions").set_defaults(run=_info)
    commands.add_parser("schema", help="print the JSON Schema of compare --json").set_defaults(run=_schema)
    commands.add_parser("warmup", help="compile all kernels into the cache").set_defaults(run=_warmup)
    return parser


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="run, verify and time every implementation of a case",
        description="Run every implementation of a case, verify each against the reference loops, and time it. Without a "
        "case: a few layers of real networks.",
    )
    case = compare.add_argument_group("the case")
    case.add_argument("--layer", action="append", metavar="NAME", help='such as resnet50.res3_3x3; see "fastconv layers"')
    case.add_argument("--network", metavar="NAME", help="all layers of a network, and their total")
    case.add_argument("--batch", type=_positive, metavar="N", help="images, for --layer and --network (1)")
    case.add_argument(
        "--op",
        metavar="NAME",
        help="a convolution or pool: conv2d, max_pool1d ..., or ndimage.gaussian_filter, signal.convolve ...; with --shape",
    )
    case.add_argument("--shape", type=_sizes, metavar="NxCxHxW", help="of the input, channels first whatever the layout")
    case.add_argument("--weight", type=_sizes, metavar="OxIxKxK", help="of a convolution's weights, channels first")
    for name, text in (
        ("kernel", "window of a pool: 3, 2x2"),
        ("stride", "1, 2x1"),
        ("dilation", "1, 2x1"),
        ("output-padding", "of a transposed convolution"),
    ):
        case.add_argument(f"--{name}", type=_ints, metavar="K", help=text)
    for name, kind, text in (
        ("rank", int, "of a rank pool: 0 is the smallest cell of a window, -1 the largest"),
        ("sigma", float, "of a Gaussian filter, in cells"),
        ("size", _ints, "of a window filter: 3, 3x5"),
        ("mode", str, "of ndimage's functions: what lies around the array"),
    ):
        case.add_argument(f"--{name}", type=kind, metavar=name[0].upper(), help=text)
    case.add_argument("--padding", type=_padding, metavar="P", help="1, 1x0, 0:2x0:1 (before:after), same, same_lower, valid")
    case.add_argument("--groups", type=_positive, metavar="G")
    case.add_argument("--layout", metavar="NAME", help="NCHW, NHWC ..., channels_first or channels_last (the layer's own)")
    case.add_argument("--dtype", default="float32", help="(%(default)s)")
    how = compare.add_argument_group("how to measure")
    how.add_argument("--threads", type=_positive, metavar="N", help="of fastconv, BLAS and peers (all)")
    how.add_argument("--implementations", type=_names, metavar="A,B", help="only these; auto is the one it picks")
    how.add_argument(
        "--peers", nargs="?", const=True, default=False, type=_names, metavar="A,B", help="other libraries too: all, or these"
    )
    how.add_argument("--seconds", type=float, metavar="S", help="of timing for each row (0.5; 0.2 in a network)")
    how.add_argument("--json", action="store_true", help='print a JSON document instead of tables; see "fastconv schema"')
    how.add_argument("--plot", type=Path, metavar="FILE", help="write speedup bars there, and a roofline beside it")
    how.add_argument("--report", type=Path, metavar="DIR", help="write DIR/index.html: tables and pictures on one page")
    how.add_argument("--backward", action="store_true", help="gradients by input and weights beside torch's, both layouts")
    compare.set_defaults(run=_compare)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.lower().replace(",", "x").split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be sizes joined by x, as in 1x64x56x56, got {text!r}") from None


def _ints(text: str) -> int | tuple[int, ...]:
    sizes = _sizes(text)
    return sizes[0] if len(sizes) == 1 else sizes


def _padding(text: str) -> Any:
    if text in ("same", "same_lower", "valid"):
        return text
    if ":" not in text:
        return _ints(text)
    pairs = tuple(_sizes(pair.replace(":", "x")) for pair in text.lower().split("x"))
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"must be pairs before:after joined by x, as in 0:2x0:1, got {text!r}")
    return pairs


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


# Commands ---------------------------------------------------------------------------------------------------------------


def _compare(given: argparse.Namespace) -> int:
    from fastconv.measuring import measure as measuring
    from fastconv.measuring.report import results as reporting

    if given.op and "." in given.op:
        return _compare_filter(given)
    chosen = _chosen_layers(given)
    if given.backward:
        return _compare_backward(given, chosen)
    if given.seconds is not None and not given.seconds > 0:
        raise ValueError(f"--seconds must be above 0, got {given.seconds}")
    if given.plot is not None:
        _check_picture(given.plot)
    if given.report is not None:
        _check_report(given.report)
    console = None if given.json else _console()
    if given.threads is not None:
        api.set_num_threads(given.threads)
    results = measuring.measure(
        chosen,
        network=given.network,
        dtype=given.dtype,
        layout=given.layout,
        implementations=given.implementations,
        peers=given.peers,
        seconds=given.seconds,
        command=given.command_line,
    )
    if given.json:
        print(results.json())
    else:
        reporting.show(results, console)
    if given.plot is not None and results.complete:
        for path in measuring.draw(results, given.plot):
            print(f"wrote {path}", file=sys.stderr)
    if given.report is not None:
        from fastconv.measuring.report import html as report

        print(f"wrote {report.write(results, given.report)}", file=sys.stderr)
    if not results.complete:
        return 130
    return 1 if results.failed else 0


def _compare_backward(given: argparse.Namespace, chosen: Sequence[layers.Layer]) -> int:
    """Gradients of layers beside torch's."""
    from fastconv.measuring import backward
    from fastconv.measuring.busy import Watch
    from fastconv.measuring.measure import progress
    from fastconv.measuring.report import gradients as reporting

    for name in ("implementations", "layout", "plot"):
        if getattr(given, name):
            raise ValueError(f"--{name} does not go with --backward, which compares what is picked in both layouts")
    if given.dtype not in ("float32", "float64"):
        raise ValueError(f"--dtype must be float32 or float64 with --backward, got {given.dtype!r}")
    if given.seconds is not None and not given.seconds > 0:
        raise ValueError(f"--seconds must be above 0, got {given.seconds}")
    if given.report is not None:
        _check_report(given.report)
    console = None if given.json else _console()
    if given.threads is not None:
        api.set_num_threads(given.threads)
    rows, watch = [], Watch()
    with progress(len(chosen)) as bar:
        for layer in chosen:
            bar.case(4 if layer.w_shape else 2)
            bar.step(f"{layer.name}: first calls")
            for row in backward.rows_of(layer, given.dtype, given.seconds or backward.SECONDS, watch):
                rows.append(row)
                bar.step(f"{layer.name}: by {row.operand}, {row.layout}")
    if given.json:
        print(reporting.document(rows, given.command_line))
    else:
        reporting.show(rows, watch, console)
    if given.report is not None:
        from fastconv.measuring.report import gradients_html

        print(f"wrote {gradients_html.write(rows, watch, given.command_line, given.report)}", file=sys.stderr)
    return 1 if any(row.wrong for row in rows) else 0


def _compare_filter(given: argparse.Namespace) -> int:
    """A function of SciPy's name beside SciPy and OpenCV."""
    from fastconv.measuring import filters
    from fastconv.measuring.report import results as reporting

    call = _filter_call(given)
    if given.threads is not None:
        api.set_num_threads(given.threads)
    rows = filters.compared(call, bool(given.peers), 0.5 if given.seconds is None else given.seconds)
    if given.json:
        print(filters.document(call, rows))
    else:
        reporting.show_filter(str(call), rows, _console())
    return 0


def _filter_call(given: argparse.Namespace) -> Any:
    """The call that the options tell."""
    from fastconv.measuring import filters

    refused = (
        "backward",
        "layer",
        "network",
        "batch",
        "weight",
        "padding",
        "groups",
        "layout",
        "implementations",
        "plot",
        "report",
    )
    for name in refused:
        if getattr(given, name):
            raise ValueError(f"--{name} goes with convolutions and pools, not with {given.op}")
    if given.shape is None:
        raise ValueError("--op needs --shape, as in 2048x2048")
    options = {name: getattr(given, name) for name in ("sigma", "size", "kernel") if getattr(given, name) is not None}
    return filters.call_of(given.op, given.shape, given.dtype, given.mode, **options)


def _chosen_layers(given: argparse.Namespace) -> list[layers.Layer]:
    from fastconv.measuring.measure import DEFAULT_LAYERS

    for name in ("sigma", "size", "mode"):
        if getattr(given, name) is not None:
            raise ValueError(f"--{name} goes with --op ndimage.gaussian_filter and its kin")
    names = ("shape", "weight", "rank", "kernel", "stride", "dilation", "output_padding", "padding", "groups")
    described = [name for name in names if getattr(given, name) is not None]
    ways = [way for way, value in (("--layer", given.layer), ("--network", given.network), ("--op", given.op)) if value]
    if len(ways) > 1:
        raise ValueError(f"{' and '.join(ways)} exclude each other")
    if described and not given.op:
        raise ValueError(f"--{described[0].replace('_', '-')} goes with --op")
    if not given.op:
        found = (
            layers.network(given.network) if given.network else [layers.layer(name) for name in given.layer or DEFAULT_LAYERS]
        )
        return [one.with_batch(given.batch) for one in found] if given.batch else found
    if given.batch:
        raise ValueError("--batch goes with --layer and --network: --shape has a batch of its own")
    if given.shape is None:
        raise ValueError("--op needs --shape, as in 1x64x56x56")
    if given.op.startswith("conv") and given.weight is None:
        raise ValueError("--op with a convolution needs --weight, as in 64x64x3x3")
    keys = {"kernel": "kernel_size", "output_padding": "output_padding"}
    arguments = tuple((keys.get(name, name), getattr(given, name)) for name in described if name not in ("shape", "weight"))
    return [layers.Layer(given.op, given.op, given.shape, given.weight, arguments)]


def _check_picture(path: Path) -> None:
    """Before anything runs: that a picture can be made, of this kind, there."""
    require("matplotlib.figure")
    if path.suffix not in PICTURES:
        raise ValueError(f"--plot must end in {', '.join(PICTURES)}, got {str(path)!r}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--plot must lie in a folder that is there, got {str(path)!r}")


def _check_report(folder: Path) -> None:
    """Before anything runs: that a page can be made, there."""
    require("matplotlib.figure")
    folder.mkdir(parents=True, exist_ok=True)


def _console() -> Any:
    return require("rich.console").Console()


def _shown(name: str) -> Callable[[argparse.Namespace], int]:
    """A command of measuring/shows.py, which is imported when it runs."""

    def run(given: argparse.Namespace) -> int:
        from fastconv.measuring import shows

        code: int = getattr(shows, name)(given)
        return code

    return run


def _layers(given: argparse.Namespace) -> int:
    found = layers.network(given.network) if given.network else [layers.layer(name) for name in layers.names()]
    for one in found:
        times = f", {one.count} times" if one.count > 1 else ""
        print(f"{one.name:26} {one.operation:16} {one.shapes}{times}")
    return 0


def _info(given: argparse.Namespace) -> int:
    machine = host()
    folder = cache.folder()
    rows: list[tuple[str, Callable[[], object]]] = [
        ("cpu", cpu_name),
        (
            "instruction set",
            lambda: f"{machine.isa}, vectors of {8 * machine.vector_bytes} bits, {machine.registers} registers",
        ),
        ("caches per core", lambda: f"L1 {machine.l1 >> 10} KiB, L2 {machine.l2 >> 10} KiB"),
        ("threads", lambda: f"{api.get_num_threads()}, of {processors.available()} that would not share a core"),
        ("kernel cache", lambda: folder or "none: no folder can be trusted and written, each process compiles"),
        ("python", platform.python_version),
        ("platform", platform.platform),
        ("numpy", lambda: np.__version__),
        ("numba", lambda: _version("numba")),
        ("fastconv", lambda: __version__),
        *((package, lambda package=package: _version(package)) for package in PEER_PACKAGES),
    ]
    for name, value in rows:
        found = value()
        if found is not None:
            print(f"{name:24} {found}")
    return 0


def _version(package: str) -> str | None:
    """A package's version; None for an OpenCV flavour that is not the installed one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None if package.startswith("opencv") else "not installed"


def _schema(given: argparse.Namespace) -> int:
    from fastconv.measuring.report import results as reporting

    print(reporting.schema(), end="")
    return 0


def _warmup(given: argparse.Namespace) -> int:
    from fastconv.measuring.measure import progress
    from fastconv.operations import warming

    planned, calls = warming.planned(), 0
    with progress(1) as bar:
        bar.case(len(planned))
        for text, call in planned:
            bar.step(text)
            calls += warming.made(call)
    print(f"{calls} calls compiled or found in {cache.folder() or 'memory: there is no cache folder'}")
    return 0
