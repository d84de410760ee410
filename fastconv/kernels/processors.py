"""How many threads this process may use: the least of its processors, their physical cores and its share of them."""

import os
from pathlib import Path

SYSTEM, PROCESS = Path("/sys"), Path("/proc/self")


def allowed() -> set[int]:
    """The numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def read(path: Path) -> str:
    """What a file of the system says, or nothing."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def cores(processors: set[int], system: Path = SYSTEM) -> int:
    """The physical cores of processors: those that share one do not add up."""
    topology = (system / f"devices/system/cpu/cpu{n}/topology" for n in processors)
    siblings = [read(folder / "core_cpus_list") or read(folder / "thread_siblings_list") for folder in topology]
    return len(set(siblings)) if all(siblings) else len(processors)


def groups(process: Path) -> dict[str, str]:
    """The control group of this process by controller: "" of version 2, "cpu" of version 1."""
    lines = [line.split(":", 2) for line in read(process / "cgroup").splitlines()]
    return {name: path for _, names, path in (line for line in lines if len(line) == 3) for name in names.split(",")}


def granted(group: Path, controller: str) -> float:
    """The processors' worth of time that one control group grants."""
    if controller == "":
        told = read(group / "cpu.max").split()
    else:
        told = [read(group / "cpu.cfs_quota_us"), read(group / "cpu.cfs_period_us")]
    limited = len(told) == 2 and all(one.isdigit() for one in told) and int(told[1]) > 0
    return int(told[0]) / int(told[1]) if limited else float("inf")


def quota(system: Path = SYSTEM, process: Path = PROCESS) -> float:
    """The least of what this process's control groups grant, and those above them."""
    found, of = [float("inf")], groups(process)
    for controller, root in (("", "fs/cgroup"), ("cpu", "fs/cgroup/cpu")):
        folder = Path(of.get(controller, "/").lstrip("/"))
        found += [granted(system / root / group, controller) for group in (folder, *folder.parents)]
    return min(found)


def available() -> int:
    """Threads that run at once without sharing a core, 1 at least."""
    processors = allowed()
    return max(1, int(min(len(processors), cores(processors), quota())))
