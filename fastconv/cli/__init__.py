"""The command line: fastconv compare | tour | layers | demo | train | info | schema | warmup.

Exit codes: 0 all went well; 1 an implementation's result was wrong; 2 the command cannot be done as given; 130 Ctrl-C, after
what was measured has been printed.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fastconv import __version__
from fastconv.cli import values
from fastconv.cli.comparing import add_compare
from fastconv.cli.info import show_info
from fastconv.kernels import cache, processors
from fastconv.measuring import layers
from fastconv.measuring.extras import MissingExtra


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
    add_compare(commands)
    tour = commands.add_parser("tour", help="from loops to the machine's limit, an idea a step, on one layer")
    tour.add_argument("--layer", default=None, metavar="NAME", help="a convolution of the named layers (resnet50.res3_3x3)")
    tour.add_argument("--threads", type=values.positive, default=1, metavar="N", help="of fastconv and BLAS (%(default)s)")
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
    train.add_argument("--epochs", type=values.positive, default=20, metavar="N", help="passes over the images (%(default)s)")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="of the first weights (%(default)s)")
    train.add_argument("--threads", type=values.positive, metavar="N", help="of fastconv, and of torch (all)")
    train.add_argument("--peers", action="store_true", help="time the same network in torch beside it")
    train.add_argument(
        "--out", type=Path, default=Path("fastconv-train"), metavar="DIR", help="where pictures go (%(default)s)"
    )
    train.set_defaults(run=_shown("show_training"))
    commands.add_parser("info", help="CPU, threads, cache and versions").set_defaults(run=show_info)
    commands.add_parser("schema", help="print the JSON Schema of compare --json").set_defaults(run=_schema)
    warmup = commands.add_parser("warmup", help="compile all kernels into the cache")
    warmup.add_argument("--processes", type=values.positive, metavar="N", help="that compile (one a processor)")
    warmup.set_defaults(run=_warmup)
    return parser


# Commands ---------------------------------------------------------------------------------------------------------------


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


def _schema(given: argparse.Namespace) -> int:
    from fastconv.measuring.report import results as reporting

    print(reporting.schema(), end="")
    return 0


def _warmup(given: argparse.Namespace) -> int:
    from fastconv.measuring.measure import progress
    from fastconv.operations import warming

    names, calls = [text for text, _ in warming.usual()], 0
    processes = 1 if cache.folder() is None else given.processes or processors.available()
    made = warming.made_by(processes, range(len(names)))
    with progress(1) as bar:
        bar.case(len(names))
        for text in names:
            bar.step(text)
            calls += next(made)
    print(f"{calls} calls compiled or found in {cache.folder() or 'memory: there is no cache folder'}")
    return 0
