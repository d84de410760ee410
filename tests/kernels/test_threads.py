"""Threads: the same bits for any number of them, and right results whoever calls, also after a fork."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case import Case
from comparing import assert_same_bits
from large import LARGE

import fastconv as fc
from fastconv.kernels import processors, team
from fastconv.kernels import threads as kernel_threads
from fastconv.kernels.jit import Kernel

SUPPORT = Path(__file__).parents[1] / "support"  # modules that tests share
SECONDS = 120  # that a process may take, compilation included
SELDOM = (1, 4, 5, 6)  # of the large cases, whose kernels others share


SERVED = [
    pytest.param(
        case, name, id=f"{case}{number}-{name}", marks=pytest.mark.exhaustive if number in SELDOM and name == "winograd" else ()
    )
    for number, case in enumerate(LARGE)
    for name in case.supporting(np.float32)
    if name != "reference"
]


@pytest.mark.parametrize(("case", "implementation"), SERVED)
def test_the_number_of_threads_changes_no_bit(case: Case, implementation: str, threads: None) -> None:
    """1, 2 and 3 threads, more than there are processors and more than there is work."""
    inputs = case.inputs(np.float32, "normal")
    fc.set_num_threads(1)
    expected = case.call(inputs, implementation)
    for n in (2, 3, 64, 2):
        fc.set_num_threads(n)
        assert fc.get_num_threads() == n
        assert_same_bits(case.call(inputs, implementation), expected)


@pytest.mark.parametrize(
    ("case", "implementation"), [one for one in SERVED if one.values[1] not in ("loops", "strided", "im2col")]
)
def test_eight_python_threads_at_once(case: Case, implementation: str, threads: None) -> None:
    """Each calls with its own input, while the calls share the kernels' threads."""
    base = case.inputs(np.float32, "normal")
    each = [{**base, case.first: base[case.first] * (n + 1)} for n in range(8)]

    def call(inputs: dict[str, np.ndarray]) -> Any:
        return case.call(inputs, implementation)

    fc.set_num_threads(1)
    expected = list(map(call, each))
    fc.set_num_threads(2)
    with ThreadPoolExecutor(8) as pool:
        for found, one in zip(pool.map(call, each * 2), expected * 2, strict=True):
            assert_same_bits(found, one)


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "n must be at least 1, got 0"),
        (-3, ValueError, "n must be at least 1, got -3"),
        (2.0, TypeError, "n must be an int, got 2.0"),
        ("2", TypeError, "n must be an int, got '2'"),
        (True, TypeError, "n must be an int, got True"),
        (None, TypeError, "n must be an int, got None"),
        (2**63, ValueError, r"n must be below 2\*\*62"),
    ],
)
def test_set_num_threads_refuses(n: Any, error: type[Exception], message: str) -> None:
    """And leaves the number as it was."""
    before = fc.get_num_threads()
    with pytest.raises(error, match=message):
        fc.set_num_threads(n)
    assert fc.get_num_threads() == before


def test_by_default_as_many_as_run_at_once() -> None:
    """Those of this process's cores, or what the environment tells."""
    code = "import fastconv as fc; print(fc.get_num_threads())"
    assert int(run(code)) == processors.available() <= len(os.sched_getaffinity(0))
    assert int(run(code, FASTCONV_NUM_THREADS="5")) == 5


@pytest.mark.parametrize("told", ["0", "-1", "two", "1.5"])
def test_the_environment_is_checked(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONV_NUM_THREADS", told)
    with pytest.raises(ValueError, match=f"FASTCONV_NUM_THREADS must be an integer of at least 1, got '{told}'"):
        kernel_threads.available()


def system(root: Path, files: dict[str, str]) -> Path:
    """A folder with what a system's files say."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


TOPOLOGY = "devices/system/cpu/cpu{}/topology/"


@pytest.mark.parametrize(
    ("siblings", "cores"),
    [
        (["0", "1", "2", "3"], 4),
        (["0,2", "1,3", "0,2", "1,3"], 2),
        (["0-3", "0-3", "0-3", "0-3"], 1),
        (["0,2", "1,3", "0,2", ""], 4),  # where one of them tells nothing, each counts
    ],
)
def test_processors_of_one_core_count_once(siblings: list[str], cores: int, tmp_path: Path) -> None:
    """As Linux lists them, by either name of the file."""
    for name in ("core_cpus_list", "thread_siblings_list"):
        root = system(tmp_path / name, {TOPOLOGY.format(n) + name: text + "\n" for n, text in enumerate(siblings)})
        assert processors.cores({0, 1, 2, 3}, root) == cores
    assert processors.cores({0, 1}, tmp_path / "elsewhere") == 2


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"fs/cgroup/cpu.max": "max 100000"}, float("inf")),
        ("0::/", {"fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {"fs/cgroup/a/b/cpu.max": "400000 100000", "fs/cgroup/a/cpu.max": "300000 100000"}, 3.0),
        ("0::/not/here", {"fs/cgroup/cpu.max": "200000 100000"}, 2.0),  # as in a container
        (
            "4:cpu,cpuacct:/a",
            {"fs/cgroup/cpu/a/cpu.cfs_quota_us": "250000", "fs/cgroup/cpu/a/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        ("4:cpu:/a", {"fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1", "fs/cgroup/cpu/a/cpu.cfs_period_us": "100000"}, float("inf")),
        ("0::/", {"fs/cgroup/cpu.max": "nonsense"}, float("inf")),
        ("", {}, float("inf")),
    ],
)
def test_quotas_of_control_groups(groups: str, files: dict[str, str], quota: float, tmp_path: Path) -> None:
    """Of both versions, also of groups above."""
    process = system(tmp_path / "self", {"cgroup": groups + "\n"})
    assert processors.quota(system(tmp_path / "sys", files), process) == quota


# In processes of their own ---------------------------------------------------------------------------------------------

PRELUDE = """
import os, sys, threading
sys.path.insert(0, TESTS)
import numpy as np
import fastconv as fc
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


def often(name: str) -> Any:
    """A script, in ordinary runs or in exhaustive ones."""
    marks = () if name in ("fork-after-use", "fork-during-use", "crowd") else pytest.mark.exhaustive
    return pytest.param(SCRIPTS[name], id=name, marks=marks)


def run(code: str, **environment: str) -> str:
    """What a new Python process prints; it must end well, and in time."""
    kept = {"NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"}  # else it would compile for itself
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_") or name in kept}
    variables = inherited | environment
    found = subprocess.run([sys.executable, "-c", code], env=variables, timeout=SECONDS, capture_output=True, text=True)
    assert found.returncode == 0, f"exit code {found.returncode}: {found.stderr[-2000:]}"
    return found.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("script", list(map(often, SCRIPTS)))
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


@Kernel
def scaled_cells(begin, end, x, y, factor):
    """y[i] = x[i] * factor"""
    for i in range(begin, end):
        y[i] = x[i] * factor


@pytest.mark.parametrize("order", [("int32", "float32", "uint8"), ("float32", "uint8", "int32")])
def test_code_is_looked_up_by_the_types_of_all_arguments(order: tuple[str, ...], threads: None) -> None:
    """One kernel, the same dtype of x, results of several dtypes: each call runs the code compiled for its own types."""
    fc.set_num_threads(2)
    x = np.arange(1000, dtype=np.uint8) % 100
    for name in order:
        y = np.zeros(1000, name)
        scaled_cells(1000, 10**9, x, y, np.dtype(name).type(2))
        np.testing.assert_array_equal(y, 2 * x.astype(name))


# The team ---------------------------------------------------------------------------------------------------------------


@Kernel
def cells_by_part(begin, end, taken, slow):
    """Each item's number goes where it belongs, after so many steps."""
    for i in range(begin, end):
        value = 0.0
        for step in range(slow):
            value += np.sqrt(float(step + i))
        taken[i] = i + (value < 0.0)


@Kernel
def refusing(begin, end, y, bad):
    """y[i] = i, but for one item that raises."""
    for i in range(begin, end):
        if i == bad:
            raise MemoryError
        y[i] = i


def crew(followers: int) -> kernel_threads.Team:
    """A team of its own, with so many followers."""
    made = kernel_threads.Team()
    made.helpers(followers)
    return made


def lead(made: kernel_threads.Team, kernel: Kernel, parts: int, total: int, *arguments: Any, helpers: int | None = None) -> int:
    """How many parts raised."""
    count = len(made.followers) if helpers is None else helpers
    return kernel.region(made.address, kernel.address(arguments), parts, total, count, made.spins, *arguments)


@pytest.mark.parametrize("followers", [1, 2, 7])
@pytest.mark.parametrize("parts", [1, 2, 3, 16, 1000])
def test_every_part_is_made_once(followers: int, parts: int) -> None:
    """Whoever takes it, awake or woken; more followers than parts, and more parts than items."""
    made = crew(followers)
    try:
        for total in (1, 5, 999):
            for pause in (0, 0, 0.002):
                y = np.full(total, -1.0)
                time.sleep(pause)
                assert lead(made, cells_by_part, parts, total, y, 3) == 0
                np.testing.assert_array_equal(y, np.arange(total))
    finally:
        made.close()
    assert not any(one.is_alive() for one in made.followers)


def test_a_leader_waits_for_no_thread_that_took_nothing() -> None:
    """Followers that are never scheduled, here such as were never started: the call ends all the same, and so do the next."""
    made = crew(1)
    made.close()
    made.words[team.QUIT // 8] = 0
    for _ in range(100):
        y = np.full(500, -1.0)
        assert lead(made, cells_by_part, 8, 500, y, 3, helpers=5) == 0
        np.testing.assert_array_equal(y, np.arange(500))


def test_who_finds_the_team_at_work_works_alone() -> None:
    """A word says that somebody leads: the call is right, and the team's words stay as they are."""
    made = crew(2)
    try:
        before = made.words.copy()
        made.words[team.LED // 8] = 1
        y = np.full(500, -1.0)
        assert lead(made, cells_by_part, 8, 500, y, 3) == 0
        np.testing.assert_array_equal(y, np.arange(500))
        unchanged = [word // 8 for word in (team.LEFT, team.DONE, team.KERNEL, team.PARTS, team.TOTAL)]
        np.testing.assert_array_equal(made.words[unchanged], before[unchanged])
        assert lead(made, refusing, 8, 500, y, 77) == 1  # alone, it is one part
        made.words[team.LED // 8] = 0
    finally:
        made.close()


@pytest.mark.parametrize("bad", [0, 250, 499])
def test_a_part_that_raises_is_told(bad: int, threads: None) -> None:
    """The others are made all the same, the next call is as any, and Python raises MemoryError."""
    made = crew(2)
    try:
        for _ in range(20):
            y = np.full(500, -1.0)
            assert lead(made, refusing, 10, 500, y, bad) == 1
            others = np.arange(500) // 50 != bad // 50
            np.testing.assert_array_equal(y[others], np.arange(500)[others])
            assert lead(made, refusing, 10, 500, y, -1) == 0
            np.testing.assert_array_equal(y, np.arange(500))
    finally:
        made.close()
    fc.set_num_threads(3)
    with pytest.raises(MemoryError, match="refusing found no memory for its workspace"):
        refusing(500, 10**9, np.zeros(500), bad)


def test_a_closed_team_starts_nobody() -> None:
    """At exit calls go on, on one thread."""
    made = crew(1)
    made.close()
    assert made.helpers(3) == 0
    made.close()


def test_where_no_thread_can_be_had_calls_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No functions to nap by, or no more threads."""
    monkeypatch.setattr(team, "functions", lambda: None)
    assert crew(3).helpers(3) == 0
    monkeypatch.undo()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert crew(3).helpers(3) == 0


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
