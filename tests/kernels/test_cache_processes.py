"""The disk cache of several processes: at once, or one after the other."""

import subprocess
import sys
from pathlib import Path

import pytest
from caching import SECONDS, kernels, run, variables

SUPPORT = Path(__file__).parents[1] / "support"  # modules that tests share


def test_cached_kernels_are_the_compiled_ones(tmp_path: Path) -> None:
    """Kernels give the same bits compiled and read from disk, on one thread and on three; also twins from one source."""
    code = f"""
import sys
sys.path.insert(0, {str(SUPPORT)!r})
import hashlib
import numpy as np
import fastconv as fc
from large import LARGE
for n in (1, 3):
    fc.set_num_threads(n)
    digest = hashlib.sha256()
    for case in LARGE:
        if case.operation in ("max_pool2d", "min_pool2d"):
            for name in ("direct", "loops"):
                if name in case.supporting(np.float32):
                    found = case.call(case.inputs(np.float32), name)
                    for one in found if isinstance(found, tuple) else (found,):
                        digest.update(one.tobytes())
    print(digest.hexdigest())
"""
    command, environment = [sys.executable, "-c", code], variables({"NUMBA_CACHE_DIR": str(tmp_path)})
    cold, warm = (subprocess.check_output(command, env=environment, timeout=SECONDS, text=True).split() for _ in range(2))
    assert len(cold) == 2
    assert len({*cold, *warm}) == 1


def test_numbas_own_configuration_stays_as_it_was() -> None:
    """What the user's own code compiles is cached, or not, as without fastconv."""
    code = """
import numba
from numba import config
read = lambda: {name: getattr(config, name) for name in dir(config) if name.isupper()}
before = read()
import numpy as np
import fastconv as fc
fc.set_num_threads(2)
fc.conv2d(np.ones((1, 8, 40, 40)), np.ones((16, 8, 3, 3)), implementation="loops")
changed = {name for name, value in read().items() if before.get(name, value) != value}
print(f"{sorted(changed)}, {numba.get_num_threads() - config.NUMBA_NUM_THREADS}, None")
"""
    assert run({}, code) == ("[]", 0, None)


def test_what_only_a_compiler_needs_is_not_loaded_for_a_kernel_that_is_on_disk(tmp_path: Path) -> None:
    """Numba's implementations of Python and NumPy, and SciPy with them, take longer to load than such a first call does."""
    code = """
import sys
import numpy as np
import fastconv as fc
assert fc.relu(np.arange(-4, 5, dtype="f4"), implementation="loops").sum() == 10
print("numba.np.arraymath" in sys.modules)
"""
    command, environment = [sys.executable, "-c", code], variables({"NUMBA_CACHE_DIR": str(tmp_path)})
    cold, warm = (subprocess.check_output(command, env=environment, timeout=SECONDS, text=True) for _ in range(2))
    assert (cold, warm) == ("True\n", "False\n")


# Two kernels of one name that differ in what they close over, each compiled by a process of its own.
TWINS = {
    "max": "fc.max_pool2d(x, 3, implementation='loops')",
    "min": "fc.min_pool2d(x, 3, implementation='loops')",
    "winograd, channels first": "fc.conv2d(x, w, padding=1, implementation='winograd')",
    "winograd, channels last": "fc.conv2d(x, w, padding=1, layout='NHWC', implementation='winograd')",
    "direct, channels first": "fc.conv2d(x, w, padding=1, implementation='direct')",
    "direct, channels last": "fc.conv2d(x, w, padding=1, layout='NHWC', implementation='direct')",
}
TWIN_SETUP = """
import numpy as np
import fastconv as fc
fc.set_num_threads({threads})
x = np.random.default_rng(3).integers(-4, 5, (1, 32, 32, 32)).astype("f4")
w = np.random.default_rng(4).integers(-4, 5, (32, 32, 3, 3)).astype("f4")
w_last = np.ascontiguousarray(np.moveaxis(w, 1, -1))
"""


def twin_sums(calls: list[str], cache: Path, threads: int) -> list[str]:
    """What `calls` give in a new process with this cache: a sum that tells each from its twin."""
    lines = [
        f"print(float(({call.replace('w, padding=1, layout', 'w_last, padding=1, layout')}).round().sum()))" for call in calls
    ]
    code = TWIN_SETUP.format(threads=threads) + "\n".join(lines)
    environment = variables({"NUMBA_CACHE_DIR": str(cache)})
    process = subprocess.run([sys.executable, "-c", code], env=environment, timeout=SECONDS, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout.split()


def layouts(name: str) -> tuple[str, str]:
    """The kernels of an implementation that differ by their layout alone."""
    return f"{name}, channels first", f"{name}, channels last"


@pytest.mark.parametrize(
    ("pair", "threads"),
    [
        pytest.param(("max", "min"), 1, marks=pytest.mark.slow),
        (("max", "min"), 2),
        pytest.param(layouts("winograd"), 2, marks=pytest.mark.slow),
        pytest.param(layouts("winograd"), 1, marks=pytest.mark.slow),
        pytest.param(layouts("direct"), 1, marks=pytest.mark.slow),
        pytest.param(layouts("direct"), 2, marks=pytest.mark.slow),
    ],
)
def test_kernels_from_different_processes_keep_their_own_code(pair: tuple[str, str], threads: int, tmp_path: Path) -> None:
    calls = [TWINS[name] for name in pair]
    alone = [twin_sums([call], tmp_path / "shared", threads)[0] for call in calls]
    fresh = [twin_sums([call], tmp_path / f"own{i}", threads)[0] for i, call in enumerate(calls)]
    assert alone == fresh
    assert alone[0] != alone[1]
    assert twin_sums(calls, tmp_path / "shared", threads) == alone
    assert twin_sums(calls[::-1], tmp_path / "shared", threads) == alone[::-1]


@pytest.mark.slow
def test_eight_processes_fill_one_cache_with_kernels_of_vectors(tmp_path: Path) -> None:
    """Each compiles several kernels, among them ones that others compile at that moment; a ninth finds all that it needs."""
    code = "import numpy as np, fastconv as fc; print(fc.relu(fc.max_pool2d(np.ones((1, 8, 9, 9), 'f4'), 2, stride=1)).sum())"
    environment = variables({"NUMBA_CACHE_DIR": str(tmp_path)})
    command = [sys.executable, "-W", "error", "-c", code]
    crew = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)
    ]
    results = {(*process.communicate(timeout=2 * SECONDS), process.returncode) for process in crew}
    assert results == {(f"{8 * 8 * 8.0}\n", "", 0)}
    filled = {path: path.stat().st_mtime_ns for path in kernels(tmp_path)}
    assert filled
    assert subprocess.run(command, env=environment, timeout=SECONDS, capture_output=True).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kernels(tmp_path)} == filled
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".kernel"]
