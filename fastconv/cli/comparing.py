"""fastconv compare: its arguments, what they ask for, and what is printed and drawn."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastconv as api
from fastconv.cli import values
from fastconv.measuring import layers
from fastconv.measuring.extras import require

PICTURES = (".png", ".svg", ".pdf")


def add_compare(commands: Any) -> None:
    """The command and its arguments."""
    compare = commands.add_parser(
        "compare",
        help="run, verify and time every implementation of a case",
        description="Run every implementation of a case, verify each against the reference loops, and time it. Without a "
        "case: a few layers of real networks.",
    )
    case = compare.add_argument_group("the case")
    case.add_argument("--layer", action="append", metavar="NAME", help='such as resnet50.res3_3x3; see "fastconv layers"')
    case.add_argument("--network", metavar="NAME", help="all layers of a network, and their total")
    case.add_argument("--batch", type=values.positive, metavar="N", help="images, for --layer and --network (1)")
    case.add_argument(
        "--op",
        metavar="NAME",
        help="a convolution or pool: conv2d, max_pool1d ..., or ndimage.gaussian_filter, signal.convolve ...; with --shape",
    )
    case.add_argument("--shape", type=values.sizes, metavar="NxCxHxW", help="of the input, channels first whatever the layout")
    case.add_argument("--weight", type=values.sizes, metavar="OxIxKxK", help="of a convolution's weights, channels first")
    for name, text in (
        ("kernel", "window of a pool: 3, 2x2"),
        ("stride", "1, 2x1"),
        ("dilation", "1, 2x1"),
        ("output-padding", "of a transposed convolution"),
    ):
        case.add_argument(f"--{name}", type=values.ints, metavar="K", help=text)
    for name, kind, text in (
        ("rank", int, "of a rank pool: 0 is the smallest cell of a window, -1 the largest"),
        ("sigma", float, "of a Gaussian filter, in cells"),
        ("size", values.ints, "of a window filter: 3, 3x5"),
        ("mode", str, "of ndimage's functions: what lies around the array"),
    ):
        case.add_argument(f"--{name}", type=kind, metavar=name[0].upper(), help=text)
    case.add_argument(
        "--padding", type=values.padding, metavar="P", help="1, 1x0, 0:2x0:1 (before:after), same, same_lower, valid"
    )
    case.add_argument("--groups", type=values.positive, metavar="G")
    case.add_argument("--layout", metavar="NAME", help="NCHW, NHWC ..., channels_first or channels_last (the layer's own)")
    case.add_argument("--dtype", default="float32", help="(%(default)s)")
    how = compare.add_argument_group("how to measure")
    how.add_argument("--threads", type=values.positive, metavar="N", help="of fastconv, BLAS and peers (all)")
    how.add_argument("--implementations", type=values.names, metavar="A,B", help="only these; auto is the one it picks")
    how.add_argument(
        "--peers",
        nargs="?",
        const=True,
        default=False,
        type=values.names,
        metavar="A,B",
        help="other libraries too: all, or these",
    )
    how.add_argument("--seconds", type=float, metavar="S", help="of timing for each row (0.5; 0.2 in a network)")
    how.add_argument("--json", action="store_true", help='print a JSON document instead of tables; see "fastconv schema"')
    how.add_argument("--plot", type=Path, metavar="FILE", help="write speedup bars there, and a roofline beside it")
    how.add_argument("--report", type=Path, metavar="DIR", help="write DIR/index.html: tables and pictures on one page")
    how.add_argument("--backward", action="store_true", help="gradients by input and weights beside torch's, both layouts")
    compare.set_defaults(run=_compare)


def _compare(given: argparse.Namespace) -> int:
    from fastconv.measuring import measure as measuring
    from fastconv.measuring.report import results as reporting

    if given.op and "." in given.op:
        return _compare_filter(given)
    chosen = chosen_layers(given)
    if given.backward:
        return _compare_backward(given, chosen)
    if given.seconds is not None and not given.seconds > 0:
        raise ValueError(f"--seconds must be above 0, got {given.seconds}")
    if given.plot is not None:
        _check_picture(given.plot)
    if given.report is not None:
        _check_report(given.report)
    shown_on = None if given.json else console()
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
        reporting.show(results, shown_on)
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
    shown_on = None if given.json else console()
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
        reporting.show(rows, watch, shown_on)
    if given.report is not None:
        from fastconv.measuring.report import gradients_html

        print(f"wrote {gradients_html.write(rows, watch, given.command_line, given.report)}", file=sys.stderr)
    return 1 if any(row.wrong for row in rows) else 0


def _compare_filter(given: argparse.Namespace) -> int:
    """A function of SciPy's name beside SciPy and OpenCV."""
    from fastconv.measuring import filters
    from fastconv.measuring.report import results as reporting

    call = filter_call(given)
    if given.threads is not None:
        api.set_num_threads(given.threads)
    rows = filters.compared(call, bool(given.peers), 0.5 if given.seconds is None else given.seconds)
    if given.json:
        print(filters.document(call, rows))
    else:
        reporting.show_filter(str(call), rows, console())
    return 0


def filter_call(given: argparse.Namespace) -> Any:
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


def chosen_layers(given: argparse.Namespace) -> list[layers.Layer]:
    """The layers that the options name or describe."""
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


def console() -> Any:
    """The terminal."""
    return require("rich.console").Console()
