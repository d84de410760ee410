"""Every implementation of one operation on one case: verify, then time.

    comparison = Comparison("conv2d", x, w, padding=1)     # checks the call; nothing has run yet
    for step in comparison.steps(): ...                    # reference loops, first calls, checks, rounds in turn
    comparison.rows()                                      # at any time: what is known so far

`compare` is that in one call, with peers started and stopped.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

import fastconv as api
from fastconv.measuring.busy import Watch
from fastconv.measuring.checking import Sample, error_of, sample
from fastconv.measuring.peers import NAMES, Case, Peer, PeerError, opened
from fastconv.measuring.roofs import fma_peak
from fastconv.measuring.runners import Other, Own, Runner
from fastconv.plans import dispatch
from fastconv.plans.plan import Plan
from fastconv.plans.registry import Implementation
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.gradients import WeightGradient
from fastconv.problem.pools import PoolGeometry

__all__ = ["Comparison", "Row", "compare"]

ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """What one implementation, or one peer, did with the case.

    Attributes
    ----------
    implementation : str
        A name from `fastconv.implementations(operation)`, or of a peer.
    peer : bool
        Whether it is another library.
    auto : bool
        Whether `implementation="auto"` picks it.
    kernel : str or None
        The kernel that ran, where the implementation has several.
    status : str
        "ok", "wrong" (and then not timed) or "skipped".
    verified : str
        What was compared with the reference: "all outputs", "k of n outputs"; or how it failed, or why it was skipped.
    seconds : float or None
        Median of one call, weights packed and arrays converted beforehand.
    gflops : float or None
        Operations of the direct method a second, in 10**9, whatever the method: Winograd and FFT may pass the peak.
    share_of_peak : float or None
        gflops over the measured multiply-add peak of all threads; None for pools and where there is no such peak.
    gbytes_per_second : float or None
        Bytes of input, weights and output, each once, a second, in 10**9.
    speedup : float or None
        Time of the reference loops over this time.
    max_error : float or None
        The largest absolute difference from the reference among the outputs compared.
    note : str
        What else the reader should know.
    spread : float or None
        The median of the slowest round over that of the fastest: how far times went up and down.
    """

    implementation: str
    peer: bool = False
    auto: bool = False
    kernel: str | None = None
    status: str = "skipped"
    verified: str = ""
    seconds: float | None = None
    gflops: float | None = None
    share_of_peak: float | None = None
    gbytes_per_second: float | None = None
    speedup: float | None = None
    max_error: float | None = None
    note: str = ""
    spread: float | None = None


def compare(
    operation: str,
    x: Any,
    *args: Any,
    implementations: Iterable[str] | None = None,
    peers: bool | Iterable[str] = False,
    seconds: float = 0.5,
    **kwargs: Any,
) -> list[Row]:
    """Verify and time every implementation of an operation on one case.

    Each is first checked against the reference loops: on all outputs, or on a seeded sample where those loops would take
    more than about a second. Then all are timed in turn, round by round, and medians are taken.

    Parameters
    ----------
    operation : str
        A convolution, pool, or gradient by weights: "conv2d", "conv_transpose1d", "max_pool3d", "conv2d_weight" ...
    x, *args, **kwargs
        As the function of that name takes them, without `out` and `implementation`.
    implementations : iterable of str, optional
        Which of `fastconv.implementations(operation)`; "auto" is the one it picks; all if not given.
    peers : bool or iterable of str
        Whether to run other libraries too, or which: "torch", "torch_channels_last", "onnxruntime", "openvino", "ncnn",
        "mnn", "cv2", "scipy". Each runs in its own process, with the number of threads that fastconv uses.
    seconds : float
        About how long each is timed, all rounds together.

    Returns
    -------
    list of Row
        Implementations best first, then peers.

    Raises
    ------
    ValueError, TypeError
        What the function itself would raise; or for a name that is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 2, 6, 6), np.float32), np.ones((3, 2, 3, 3), np.float32)
    >>> rows = compare("conv2d", x, w, implementations=["reference", "loops"], seconds=0.01)
    >>> [(row.implementation, row.status, row.verified) for row in rows]
    [('loops', 'ok', 'all outputs'), ('reference', 'ok', 'all outputs')]
    """
    names = peer_names(peers)
    comparison = Comparison(operation, x, *args, implementations=implementations, seconds=seconds, **kwargs)
    with opened(names, api.get_num_threads()) as running:
        comparison.add_peers(running)
        for _ in comparison.steps():
            pass
    return comparison.rows()


def peer_names(peers: bool | Iterable[str]) -> tuple[str, ...]:
    """The peers that the argument asks for."""
    if isinstance(peers, bool):
        return NAMES if peers else ()
    chosen = tuple(peers)
    for name in chosen:
        if name not in NAMES:
            raise ValueError(f"peers must be True, False or some of {', '.join(NAMES)}, got {name!r}")
    return chosen


@dataclass
class _Entry:
    """A runner and what is known of it."""

    runner: Runner
    auto: bool = False
    status: str = "waiting"
    verified: str = ""
    max_error: float | None = None
    kernel: str | None = None
    note: str = ""
    times: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    extrapolated: bool = False


class Comparison:
    """One case that is verified and timed step by step.

    Parameters
    ----------
    operation, x, *args, implementations, seconds, **kwargs
        As `compare` takes them.
    reference_seconds : float
        For the reference loops and the error bounds: the fewer, the smaller the sample of a large case.

    Attributes
    ----------
    geometry : ConvGeometry or PoolGeometry
        The sizes of the case.
    dtype : numpy.dtype
        Of the result.
    watch : Watch
        What else the machine did meanwhile.
    """

    def __init__(
        self,
        operation: str,
        x: Any,
        *args: Any,
        implementations: Iterable[str] | None = None,
        seconds: float = 0.5,
        reference_seconds: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds must be above 0, got {seconds!r}")
        family = dispatch.family_of(operation)
        builder = getattr(api.grad if family == "conv_weight" else api, operation, None)
        if not isinstance(builder, api.Operation) or not family.endswith(("conv", "conv_transpose", "_pool", "conv_weight")):
            raise ValueError(f"operation must be a convolution or pool, as in 'conv2d' or 'max_pool1d', got {operation!r}")
        self.operation, self.seconds, self._reference_limit = operation, seconds, reference_seconds
        x = np.asarray(x)

        given = inspect.signature(builder).bind(x, *args, **kwargs).arguments
        if family == "conv_weight":  # the second operand of its plans, which take no array
            kwargs, args = {name: value for name, value in given.items() if name not in ("input", "grad_output")}, ()

        def make(implementation: str) -> Plan:
            return builder.plan(x.shape, *args, x_dtype=x.dtype, implementation=implementation, **kwargs)  # type: ignore[no-any-return]

        plan = make("reference")
        self.geometry: ConvGeometry | PoolGeometry | WeightGradient = plan.geometry
        self.dtype = plan.out_dtype
        self._x = x.reshape(self.geometry.x_shape)
        self._w, self._bias = (None if given.get(name) is None else np.asarray(given[name]) for name in ("w", "bias"))
        operands: tuple[Array, ...] = (x,)
        if family == "conv_weight":
            self._w = np.asarray(given["grad_output"], plan.operands[1].dtype)
            operands = (x, plan.checked(plan.operands[1], self._w))
        self._sample: Sample | None = None
        self.watch = Watch()
        self._peers: tuple[Peer, ...] = ()
        chosen = make("auto").implementation.name  # weights may decide
        selected = _selected(operation, implementations, chosen)
        self._entries = [_Entry(Own(record, make, operands, plan), record.name == chosen) for record in selected]

    def add_peers(self, peers: Iterable[Peer]) -> None:
        """Runs the case in these too."""
        if isinstance(self.geometry, WeightGradient):
            self._no_peers(tuple(peers))
            return
        case = Case(self.geometry, self._x, self._w, self._bias)
        self._peers = tuple(peers)
        self._entries += [_Entry(Other(peer, case)) for peer in self._peers]

    def _no_peers(self, peers: tuple[Peer, ...]) -> None:
        """No peer computes a gradient alone."""
        if peers:
            raise ValueError(f"peers must be False for {self.operation}: other libraries give gradients by a framework alone")

    @property
    def total_steps(self) -> int:
        """How many steps `steps` yields at most."""
        return 1 + len(self._peers) + len(self._entries) * (1 + ROUNDS)

    def steps(self) -> Iterator[str]:
        """Does the work, and before each part yields what comes."""
        for peer in self._peers:  # while they start, nothing else can be timed
            yield f"{peer.name}: start"
            peer.start()
        yield "reference loops"
        self._sample = sample(self.geometry, self._x, self._w, self._bias, self.dtype, self._reference_limit)
        for entry in self._entries:
            yield f"{entry.runner.name}: first call"
            self._verify(entry, self._sample)
        for number in range(ROUNDS):
            for entry in self._entries:
                if entry.status == "ok" and not self._timed_enough(entry):
                    yield f"{entry.runner.name}: round {number + 1} of {ROUNDS}"
                    self._time(entry)

    def _timed_enough(self, entry: _Entry) -> bool:
        return entry.extrapolated or sum(entry.times) >= self.seconds

    def _verify(self, entry: _Entry, expected: Sample) -> None:
        runner = entry.runner
        if runner.name == "reference" and not expected.complete:
            entry.status, entry.verified, entry.max_error = "ok", expected.coverage, 0.0
            entry.note, entry.times, entry.extrapolated = (f"extrapolated from {expected.coverage}", [expected.seconds], True)
            return
        try:
            reason = runner.prepare()
            if reason is not None:
                entry.status, entry.verified = "skipped", reason
                return
            entry.kernel, entry.note = runner.notes()
            entry.max_error, wrong = expected.check(runner.result(), error_of(self.operation, runner.name))
        except (PeerError, MemoryError) as error:
            entry.status, entry.verified = "skipped", str(error) or type(error).__name__
            return
        except Exception as error:  # one that fails must not hide what the others do
            entry.status, entry.verified = "wrong", f"raised {type(error).__name__}: {error}"
            return
        entry.status = "ok" if wrong is None else "wrong"
        entry.verified = expected.coverage if wrong is None else wrong

    def _time(self, entry: _Entry) -> None:
        try:
            with nullcontext() if entry.runner.peer else self.watch.calls():
                times = entry.runner.run(self.seconds / ROUNDS)
        except PeerError as error:
            entry.status, entry.verified = "skipped", str(error)
            return
        entry.times += times
        entry.rounds.append(median(times))

    def rows(self) -> list[Row]:
        """What is known so far: implementations best first, then peers; those not reached yet are left out."""
        return [self._row(entry) for entry in self._entries if entry.status != "waiting"]

    def _row(self, entry: _Entry) -> Row:
        seconds = median(entry.times) if entry.times and entry.status == "ok" else None
        row: dict[str, Any] = {}
        if seconds and self._sample is not None:
            peak = (
                fma_peak(self.dtype, api.get_num_threads())
                if isinstance(self.geometry, ConvGeometry | WeightGradient)
                else None
            )
            rate = self.geometry.flops / seconds
            row = {
                "seconds": seconds,
                "gflops": rate / 1e9,
                "share_of_peak": rate / peak if peak else None,
                "gbytes_per_second": self.geometry.bytes(self.dtype.itemsize) / seconds / 1e9,
                "speedup": self._reference_seconds(self._sample) / seconds,
            }
        return Row(
            entry.runner.name,
            entry.runner.peer,
            entry.auto,
            entry.kernel,
            entry.status,
            entry.verified,
            max_error=entry.max_error,
            note=entry.note,
            spread=max(entry.rounds) / min(entry.rounds) if len(entry.rounds) > 1 and min(entry.rounds) else None,
            **row,
        )

    def _reference_seconds(self, expected: Sample) -> float:
        """The loops' time as their own row has it, so that its speedup is 1."""
        times = next((entry.times for entry in self._entries if entry.runner.name == "reference"), [])
        return median(times) if times else expected.seconds


def _selected(operation: str, implementations: Iterable[str] | None, auto: str) -> Sequence[Implementation]:
    """Records in the order of the registry; "auto" stands for the one that it picks."""
    records = dispatch.candidates(operation)
    if implementations is None:
        return records
    known = [record.name for record in records]
    wanted = [auto if name == "auto" else name for name in implementations]
    for name in wanted:
        if name not in known:
            raise ValueError(f"implementations must be some of auto, {', '.join(known)} for {operation}, got {name!r}")
    return [record for record in records if record.name in wanted]
