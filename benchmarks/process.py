"""What a new process pays: import, and the first call with an empty and with a warm cache of compiled kernels."""

import os
import subprocess
import sys
import tempfile
import time

FIRST_CALL = """
import numpy as np
import fastconv as fc
fc.conv2d(np.ones((1, 16, 16, 16), np.float32), np.ones((16, 16, 3, 3), np.float32), padding=1)
"""


def seconds_of_process(source, cache):
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", source], check=True, env={**os.environ, "NUMBA_CACHE_DIR": cache}, timeout=120)
    return time.perf_counter() - begun


class NewProcess:
    """Whole processes, interpreter start included."""

    timeout = 300
    number, repeat, warmup_time = 1, 5, 0

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()
        seconds_of_process(FIRST_CALL, self.folder.name)

    def teardown(self):
        self.folder.cleanup()

    def time_import_numpy(self):
        seconds_of_process("import numpy", self.folder.name)

    def time_import_fastconv(self):
        seconds_of_process("import fastconv", self.folder.name)

    def time_first_call_warm_cache(self):
        seconds_of_process(FIRST_CALL, self.folder.name)

    def track_first_call_empty_cache(self):
        with tempfile.TemporaryDirectory() as empty:
            return seconds_of_process(FIRST_CALL, empty)

    track_first_call_empty_cache.unit = "seconds"


def peakmem_nothing():
    """The empty twin: the interpreter with the library imported."""


class PeakMemory:
    """Memory of a process that runs a large layer."""

    params = (["direct", "im2col"],)
    param_names = ("implementation",)

    def setup(self, implementation):
        from benchmarks.common import planned

        self.plan, self.x, _ = planned("vgg19.conv2_2", implementation)

    def peakmem_vgg19_conv2_2(self, implementation):
        self.plan(self.x)
