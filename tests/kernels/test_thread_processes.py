"""Threads in processes of their own: forks, crowds, interrupts, and the interpreter's end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastconv.kernels import processors

SUPPORT = Path(__file__).parents[1] / "support"  # modules that tests share
SECONDS = 120  # that a process may take, compilation included

PRELUDE = """
import os, sys, threading
sys.path.insert(0, TESTS)
import numpy as np
import fastconv as fc
from fastconv.kernels import processors
from large import LARGE
fc.set_num_threads(3)
CALLS = [
    (case, case.inputs(np.float32), name)
    for case in LARGE if case.operation in ("conv2d", "max_pool2d", "unfold")
    for name in case.supporting(np.float32) if name != "reference"
]

def compute():
    return [case.call(inputs, name) for case, inputs, name in CALLS]

def same(found, expected):
    flat = lambda results: [one.tobytes() for result in results for one in (result if isinstance(result, tuple) else (result,))]
    return flat(found) == flat(expected)

def in_child(function):
    "Exit code of a forked child: 0 where function() is true."
    child = os.fork()
    if child == 0:
        code = 3
        try:
            code = 0 if function() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

"""

FORK_AFTER_USE = """
expected = compute()
assert in_child(lambda: same(compute(), expected)) == 0
assert same(compute(), expected)
# A child of a child, and threads in a child.
assert in_child(lambda: in_child(lambda: same(compute(), expected)) == 0) == 0
def crowd():
    found = [None] * 4
    def work(n):
        found[n] = compute()
    crew = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [one.start() for one in crew]
    [one.join() for one in crew]
    return all(same(one, expected) for one in found)
assert in_child(crowd) == 0
print("done")
"""

FORK_BEFORE_USE = """
assert in_child(lambda: len(compute()) == len(CALLS)) == 0
assert len(compute()) == len(CALLS)
print("done")
"""

# BLAS has locks of its own, which a child may find held: what calls it is left out.
FORK_DURING_USE = """
CALLS = [call for call in CALLS if call[2] not in ("im2col", "strided")]
expected = compute()
stop = threading.Event()
def busy():
    while not stop.is_set():
        compute()
crew = [threading.Thread(target=busy) for _ in range(3)]
[one.start() for one in crew]
codes = [in_child(lambda: same(compute(), expected)) for _ in range(4)]
stop.set()
[one.join() for one in crew]
assert codes == [0] * 4, codes
print("done")
"""

CROWD = """
fc.set_num_threads(1)
expected = compute()
fc.set_num_threads(3)
found = [None] * 8
def work(n):
    found[n] = compute()
crew = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[one.start() for one in crew]
[one.join() for one in crew]
assert all(same(one, expected) for one in found)
print("done")
"""

NUMBAS_OWN_THREADS_FIRST = """
import numba
@numba.njit(parallel=True)
def total(n):
    result = 0
    for i in numba.prange(n):
        result += i
    return result
assert total(1000) == 499500
expected = compute()
assert in_child(lambda: same(compute(), expected)) == 0
assert total(1000) == 499500
print("done")
"""

SCRIPTS = {
    "fork-after-use": FORK_AFTER_USE,
    "fork-before-use": FORK_BEFORE_USE,
    "fork-during-use": FORK_DURING_USE,
    "crowd": CROWD,
    "numba-first": NUMBAS_OWN_THREADS_FIRST,
}


def run(code: str, **environment: str) -> str:
    """What a new Python process prints; it must end well, and in time."""
    kept = {"NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"}  # else it would compile for itself
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_") or name in kept}
    variables = inherited | environment
    found = subprocess.run([sys.executable, "-c", code], env=variables, timeout=SECONDS, capture_output=True, text=True)
    assert found.returncode == 0, f"exit code {found.returncode}: {found.stderr[-2000:]}"
    return found.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_forks_and_crowds(script: str) -> None:
    """Forks before, during and after use, many callers, and code that uses Numba's threads itself: right, and alive."""
    assert run(f"TESTS = {str(SUPPORT)!r}\n{PRELUDE}{script}", NUMBA_THREADING_LAYER="workqueue") == "done"


def test_results_of_other_processes_are_the_same() -> None:
    """One thread or three: a digest of all bits agrees."""
    digest = "import hashlib; print(hashlib.sha256(b''.join(map(first, compute()))).hexdigest())"
    code = f"TESTS = {str(SUPPORT)!r}\n{PRELUDE}first = lambda r: (r[0] if isinstance(r, tuple) else r).tobytes()\n"
    assert len({run(code + f"fc.set_num_threads({n})\n{digest}") for n in (1, 3)}) == 1


SPAWNED = """
import multiprocessing
def answer(n):
    fc.set_num_threads(2)
    case, inputs, name = CALLS[n % len(CALLS)]
    found = case.call(inputs, name)
    return (found[0] if isinstance(found, tuple) else found).tobytes()
if __name__ == "__main__":
    fc.set_num_threads(1)
    expected = [answer(n) for n in range(8)]
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(3) as pool:
            assert pool.map(answer, range(8), 1) == expected, method
    print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_pools_of_processes(tmp_path: Path) -> None:
    """Forked, spawned and served by a fork server, after the parent has used its own threads."""
    script = tmp_path / "pools.py"
    script.write_text(f"TESTS = {str(SUPPORT)!r}\n{PRELUDE}{SPAWNED}")
    found = subprocess.run([sys.executable, str(script)], timeout=SECONDS, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "done\n"), found.stderr[-2000:]


ONE_PLAN = """
rng = np.random.default_rng(0)
w = rng.standard_normal((16, 16, 3, 3)).astype(np.float32)
inputs = [rng.standard_normal((1, 16, 61, 67)).astype(np.float32) for _ in range(8)]
plans = [
    *(fc.conv2d.plan(inputs[0].shape, w, padding=1, implementation=name) for name in ("direct", "winograd", "fft", "im2col")),
    fc.max_pool2d.plan(inputs[0].shape, 3, return_indices=True),
    fc.avg_pool2d.plan(inputs[0].shape, 3, stride=1),
]
flat = lambda found: b"".join(one.tobytes() for one in (found if isinstance(found, tuple) else (found,)))
fc.set_num_threads(1)
expected = [[flat(plan(x)) for plan in plans] for x in inputs]
fc.set_num_threads(3)
found = [[] for _ in inputs]
def work(n):
    for _ in range(5):
        found[n].append([flat(plan(inputs[n])) for plan in plans])
crew = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[one.start() for one in crew]
[one.join() for one in crew]
assert found == [[one] * 5 for one in expected]
print("done")
"""


def test_one_plan_in_eight_threads() -> None:
    """Plans hold no workspace: each call has its own."""
    assert run(f"TESTS = {str(SUPPORT)!r}\n{PRELUDE}{ONE_PLAN}") == "done"


GIL = """
import time
fc.set_num_threads({threads})
w = np.ones((64, 64, 3, 3), np.float32)
for size in (8, 128):  # compiled on the small one
    x = np.ones((1, 64, size, size), np.float32)
    plan = fc.conv2d.plan(x.shape, w, padding=1, implementation="loops")
    ticks, over = 0, threading.Event()
    crew = threading.Thread(target=lambda: (plan(x), over.set()))
    begun = time.perf_counter()
    crew.start()
    while not over.is_set():
        time.sleep(0.005)
        ticks += 1
    seconds = time.perf_counter() - begun
    crew.join()
assert seconds > 0.2, seconds
assert ticks > 10 * seconds, (ticks, seconds)
print("done")
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_other_python_threads_go_on_during_a_long_call(threads: int) -> None:
    """One that wakes every 5 ms does so many times while a kernel runs for a good part of a second."""
    assert run(f"TESTS = {str(SUPPORT)!r}\n{PRELUDE}{GIL.format(threads=threads)}") == "done"


INTERRUPTED = """
import signal, time
fc.set_num_threads(3)
w = np.ones((64, 64, 3, 3), np.float32)
x = np.ones((1, 64, 112, 112), np.float32)
plan = fc.conv2d.plan(x.shape, w, padding=1, implementation="loops")
expected = plan(x).tobytes()
interrupted = 0
for delay in (0.01, 0.05, 0.1, 0.2):
    out = np.zeros(plan.out_shape, np.float32)
    signal.setitimer(signal.ITIMER_REAL, delay)
    try:
        plan(x, out)
        time.sleep(0.25)
    except KeyboardInterrupt:
        interrupted += 1
    left = out.copy()
    time.sleep(0.05)
    assert np.array_equal(left, out), "something goes on writing"
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert plan(x).tobytes() == expected
assert interrupted == 4
assert len(compute()) == len(CALLS)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="timers are signals here")
def test_an_interrupted_call_leaves_nothing_broken() -> None:
    """KeyboardInterrupt during long calls: when it comes out nothing writes any more, and the next calls are right."""
    alarm = "import signal\nsignal.signal(signal.SIGALRM, signal.default_int_handler)\n"
    code = f"{alarm}TESTS = {str(SUPPORT)!r}\n{PRELUDE}{INTERRUPTED}"
    assert run(code) == "done"


EXIT = """
import atexit, time
fc.set_num_threads(3)
x, w = np.ones((1, 64, 112, 112), np.float32), np.ones((64, 64, 3, 3), np.float32)
plan = fc.conv2d.plan(x.shape, w, padding=1, implementation="loops")
expected = plan(x).tobytes()
def busy():
    while True:
        assert plan(x).tobytes() == expected
[threading.Thread(target=busy, daemon=True).start() for _ in range(2)]
time.sleep(0.2)
print("done", flush=True)
"""


def test_the_interpreter_ends_while_daemons_call() -> None:
    """At once, with exit code 0: whoever has taken a part ends it, and leaves."""
    assert run(f"TESTS = {str(SUPPORT)!r}\n{PRELUDE}{EXIT}") == "done"


QUIET = """
import atexit, os, sys, threading, time

def watch():
    "Runs after fastconv's own handler, which was registered later."
    before = [out.copy() for out in outs]
    time.sleep(0.3)
    print("quiet" if all(map(np.array_equal, before, outs)) else "somebody is inside", flush=True)
    assert plan(x).tobytes() == expected  # the interpreter's own thread still may

atexit.register(watch)
import numpy as np
import fastconv as fc
fc.set_num_threads(THREADS)
x, w = np.ones((1, 64, 112, 112), np.float32), np.ones((64, 64, 3, 3), np.float32)
plan, other = (fc.conv2d.plan(x.shape, weights, padding=1, implementation="direct") for weights in (w, w + 1))
expected, outs = plan(x).tobytes(), [np.empty(plan.out_shape, np.float32) for _ in range(3)]
calls = [lambda: (plan(x, outs[0]), other(x, outs[0])), lambda: (plan(x, outs[1]), other(x, outs[1]))]
bound = [one.bind(x, out=outs[2]) for one in (plan, other)]
calls.append(lambda: (bound[0](), bound[1]()))
def busy(call):
    while True:
        call()
[threading.Thread(target=busy, args=(call,), daemon=True).start() for call in calls]
time.sleep(0.2)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_nobody_is_inside_when_the_interpreter_ends(threads: int) -> None:
    """Daemons that call again and again, plans and bound ones: after fastconv's exit handler none writes any more."""
    assert run(f"THREADS = {threads}\n{QUIET}") == "quiet"


LAYERS = """
from numba.np.ufunc import parallel
fc.set_num_threads(3)
assert len(compute()) == len(CALLS)
assert not parallel._is_initialized
assert sum(one.name.startswith("fastconv") for one in threading.enumerate()) == 2
print("done")
"""


def test_numbas_threads_are_not_started() -> None:
    """Nor does the team have more followers than the number of threads asks for."""
    assert run(f"TESTS = {str(SUPPORT)!r}\n{PRELUDE}{LAYERS}") == "done"


def test_by_default_as_many_as_run_at_once() -> None:
    """Those of this process's cores, or what the environment tells."""
    code = "import fastconv as fc; print(fc.get_num_threads())"
    assert int(run(code)) == processors.available() <= len(os.sched_getaffinity(0))
    assert int(run(code, FASTCONV_NUM_THREADS="5")) == 5
