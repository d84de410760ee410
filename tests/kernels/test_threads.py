"""Threads: the same bits for any number of them, and right results whoever calls, also after a fork."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case import Case
from comparing import assert_same_bits
from large import LARGE

import fastconv as fc
from fastconv.kernels import jit, processors
from fastconv.kernels import threads as kernel_threads
from fastconv.kernels.jit import Kernel
from fastconv.kernels.simd.engine import weights
from fastconv.plans import straight

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


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("case", "implementation"), [one for one in SERVED if one.values[1] not in ("loops", "strided", "im2col")]
)
def test_the_order_of_the_items_changes_no_bit(case: Case, implementation: str, threads: None, monkeypatch) -> None:
    """Threads end in any order: a cell that two items write has the same bits from both."""

    def backwards(kernel: Kernel, total: int, work: int, *arguments: Any) -> None:
        step = -(-total // 5000)
        ran.append(kernel)
        for begin in reversed(range(0, total, step)):
            kernel.serial(begin, min(total, begin + step), *arguments)

    ran: list[Kernel] = []
    inputs = case.inputs(np.float32, "normal")
    fc.set_num_threads(1)
    expected = case.call(inputs, implementation)
    monkeypatch.setattr(Kernel, "__call__", backwards)
    for module in (jit, straight, weights):  # each of which runs a small call itself
        monkeypatch.setattr(module, "GRAIN", 0)
    assert_same_bits(case.call(inputs, implementation), expected)
    assert ran


@pytest.mark.exhaustive
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
