"""This side of a peer: a process that is started, asked and stopped, each within a time limit."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from fastconv.measuring.peers.case import NAMES, Case
from fastconv.problem.convolutions import Array

START_LIMIT = 120.0  # seconds: importing a framework from a cold disk
ANSWER_LIMIT = 60.0  # seconds: compiling a model, or one call of a slow method
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MISLEADING_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # can halve the speed of a peer's matrix product


class PeerError(RuntimeError):
    """A peer failed after it had accepted a case, or did not answer in time."""


def environment(threads: int) -> dict[str, str]:
    """The environment that peers start in: this one, with one number of threads for every runtime."""
    here = {key: value for key, value in os.environ.items() if key not in MISLEADING_VARIABLES}
    here.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    package_home = str(Path(__file__).resolve().parents[3])
    here["PYTHONPATH"] = os.pathsep.join(filter(None, (package_home, here.get("PYTHONPATH"))))
    return here


class Peer:
    """One library in one process. Use it in a `with` block, or `close` it.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    threads : int
        Threads that the library may use.

    Attributes
    ----------
    reason : str or None
        Why the peer cannot be used at all; None while it can.
    version : str
        The library's version; empty until it has started.
    note : str
        What the reader of the prepared case's timing should know; may be empty.

    Raises
    ------
    ValueError
        If `name` is none of `NAMES`.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        if name not in NAMES:
            raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
        self.name, self.threads = name, threads
        self.reason: str | None = None
        self.version = self.note = ""
        self._started = False
        self._answers: queue.Queue[tuple[bool, Any] | None] = queue.Queue()
        command = [sys.executable, "-P", "-m", "fastconv.measuring.peers.worker", name, str(threads)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(threads),
            start_new_session=True,  # Ctrl-C is this side's affair; and what a library starts can be ended with it
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> str | None:
        """Waits until the library is imported; returns why it cannot be used, or None."""
        if not self._started and self.reason is None:
            done, value = self._answer(START_LIMIT)
            if done:
                self._started, self.version = True, value
            else:
                self._stop(value)
        return self.reason

    def prepare(self, case: Case) -> str | None:
        """Hands over a case and runs it once; returns why the library cannot serve it, or None."""
        if self.start() is not None:
            return self.reason
        done, value = self._ask("prepare", (case,), ANSWER_LIMIT)
        self.note = value if done else ""
        return None if done else str(value)

    def result(self) -> Array:
        """The output of the prepared case as an array (n, c, ...).

        Raises
        ------
        PeerError
            If the process ended, took too long, or has no case.
        """
        done, value = self._ask("result", (), ANSWER_LIMIT)
        if not done:
            raise PeerError(f"{self.name}: {value}")
        return value  # type: ignore[no-any-return]

    def run(self, seconds: float) -> list[float]:
        """Seconds of each call in a round of about `seconds`, and of at least one call.

        Raises
        ------
        PeerError
            If the process ended, took too long, or has no case.
        """
        done, value = self._ask("run", (seconds,), seconds + ANSWER_LIMIT)
        if not done:
            raise PeerError(f"{self.name}: {value}")
        return value  # type: ignore[no-any-return]

    def close(self) -> None:
        """Ends the process; afterwards the peer refuses everything."""
        self._stop(self.reason or "closed")

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        try:
            while True:
                self._answers.put(pickle.load(stream))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._answers.put(None)

    def _ask(self, message: str, arguments: tuple[Any, ...], limit: float) -> tuple[bool, Any]:
        if self.reason is not None:
            return False, self.reason
        stream = self._process.stdin
        assert stream is not None
        try:
            pickle.dump((message, arguments), stream, protocol=5)
            stream.flush()
        except OSError:
            pass  # it has ended, which is what _answer will find
        return self._answer(limit)

    def _answer(self, limit: float) -> tuple[bool, Any]:
        try:
            found = self._answers.get(timeout=limit)
        except queue.Empty:
            self._stop(f"no answer within {limit:.0f} s")
            return False, self.reason
        except BaseException:  # Ctrl-C: an answer is on its way, which would be taken for the next one's
            self._stop("interrupted")
            raise
        if found is None:
            self._stop(f"its process ended (exit status {self._exit_status()})")
            return False, self.reason
        return found

    def _exit_status(self) -> int | None:
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return None

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        if os.name == "posix":  # whatever the library has started is in the process's group
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._listener.join(timeout=5)
        streams = [self._process.stdin, self._process.stdout]
        for stream in streams[: 1 if self._listener.is_alive() else 2]:  # one that is being read would not close
            if stream is not None:
                with suppress(OSError):
                    stream.close()


@contextmanager
def opened(names: Iterable[str] = NAMES, threads: int = 1) -> Iterator[list[Peer]]:
    """Peers that start side by side and are stopped when the block is left, however it is left."""
    with ExitStack() as stack:
        yield [stack.enter_context(Peer(name, threads)) for name in names]
