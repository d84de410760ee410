"""A peer's own process: `python -m fastconv.measuring.peers.worker NAME THREADS`, pickled messages over stdin and stdout.

It answers each message with (true, value) or (false, reason), ignores Ctrl-C, which is the other side's to handle, and
ends with its stdin.
"""

import importlib
import os
import pickle
import signal
import sys
from typing import Any

from fastconv.measuring.peers.case import Case, Library, Prepared, Refused
from fastconv.plans.timing import timed_round

HOMES = {
    "torch": ("frameworks", "load_torch"),
    "torch_channels_last": ("frameworks", "load_torch_channels_last"),
    "onnxruntime": ("onnx_graph", "load_onnxruntime"),
    "openvino": ("onnx_graph", "load_openvino"),
    "ncnn": ("ncnn_layer", "load_ncnn"),
    "mnn": ("mnn_session", "load_mnn"),
    "cv2": ("images", "load_cv2"),
    "scipy": ("images", "load_scipy"),
}


class Worker:
    """Holds one library and the case it has prepared."""

    def __init__(self, name: str, threads: int) -> None:
        module, load = HOMES[name]
        try:
            self.library: Library = getattr(importlib.import_module(f"fastconv.measuring.peers.{module}"), load)(threads)
        except ModuleNotFoundError as error:
            raise Refused(f"{error.name} is not installed") from error
        self.prepared: Prepared | None = None
        self.last: Any = None

    def prepare(self, case: Case) -> str:
        """Converts the arrays and runs once; returns the note."""
        self.prepared = self.last = None
        prepared = self.library.prepare(case)
        self.last = prepared.run()
        self.prepared = prepared
        return prepared.note

    def result(self) -> Any:
        """The output of the call that `prepare` made."""
        return self._ready().result(self.last)

    def run(self, seconds: float) -> list[float]:
        """Seconds of each call in one round."""
        return timed_round(self._ready().run, seconds)

    def _ready(self) -> Prepared:
        if self.prepared is None:
            raise Refused("no case is prepared")
        return self.prepared


def reason_of(error: BaseException) -> str:
    """One line of an error, short enough for a table."""
    if isinstance(error, Refused):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def serve(name: str, threads: int) -> None:
    """Answers messages until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inward, outward = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not fall among the answers

    def answer(done: bool, value: Any) -> None:
        pickle.dump((done, value), outward, protocol=5)
        outward.flush()

    try:
        worker = Worker(name, threads)
    except Exception as error:
        answer(False, reason_of(error))
        return
    answer(True, str(worker.library.version))  # a plain string: torch's own kind would be unpickled by importing torch
    while True:
        try:
            message, arguments = pickle.load(inward)
        except EOFError:
            return
        try:
            answer(True, getattr(worker, message)(*arguments))
        except Exception as error:
            answer(False, reason_of(error))


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
