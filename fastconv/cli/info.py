"""fastconv info: the CPU, threads, the kernel cache, and versions of what matters."""

import argparse
import platform
from collections.abc import Callable
from importlib import metadata

import numpy as np

import fastconv as api
from fastconv import __version__
from fastconv.kernels import cache, processors
from fastconv.machine import cpu_name, host

PEER_PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "ncnn", "mnn", "opencv-python-headless", "opencv-python", "scipy")


def show_info(given: argparse.Namespace) -> int:
    """Prints a line each."""
    machine = host()
    folder = cache.folder()
    rows: list[tuple[str, Callable[[], object]]] = [
        ("cpu", cpu_name),
        (
            "instruction set",
            lambda: f"{machine.isa}, vectors of {8 * machine.vector_bytes} bits, {machine.registers} registers",
        ),
        ("caches per core", lambda: f"L1 {machine.l1 >> 10} KiB, L2 {machine.l2 >> 10} KiB"),
        ("threads", lambda: f"{api.get_num_threads()}, of {processors.available()} that would not share a core"),
        ("kernel cache", lambda: folder or "none: no folder can be trusted and written, each process compiles"),
        ("python", platform.python_version),
        ("platform", platform.platform),
        ("numpy", lambda: np.__version__),
        ("numba", lambda: _version("numba")),
        ("fastconv", lambda: __version__),
        *((package, lambda package=package: _version(package)) for package in PEER_PACKAGES),
    ]
    for name, value in rows:
        found = value()
        if found is not None:
            print(f"{name:24} {found}")
    return 0


def _version(package: str) -> str | None:
    """A package's version; None for an OpenCV flavour that is not the installed one."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None if package.startswith("opencv") else "not installed"
