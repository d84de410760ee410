"""What a process pays: import, the first call with an empty and with a warm cache of compiled kernels, memory."""

import os
import subprocess
import sys
import tempfile
import time

import fastconv as fc
from benchmarks.common import unverified

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

    def setup_cache(self):
        folder = os.path.abspath("kernels")
        seconds_of_process(FIRST_CALL, folder)
        return folder

    def time_interpreter(self, folder):
        seconds_of_process("", folder)

    def time_import_numpy(self, folder):
        seconds_of_process("import numpy", folder)

    def time_import_fastconv(self, folder):
        seconds_of_process("import fastconv", folder)

    def time_first_call_warm_cache(self, folder):
        seconds_of_process(FIRST_CALL, folder)

    def track_first_call_empty_cache(self, folder):
        with tempfile.TemporaryDirectory() as empty:
            return seconds_of_process(FIRST_CALL, empty)

    track_first_call_empty_cache.unit = "seconds"


class Memory:
    """The most memory that a process held: with arrays and packed weights alone, and with a call.

    The twins differ by the result and the workspace. Nothing is verified here, since that takes memory too.
    """

    params = (["vgg19.conv2_2"], ["direct", "winograd", "im2col"])
    param_names = ("layer", "implementation")
    timeout = 300

    def setup(self, layer, implementation):
        fc.set_num_threads(1)
        self.plan, self.x, _ = unverified(layer, implementation, "channels_first")

    def peakmem_call(self, layer, implementation):
        self.plan(self.x)

    def peakmem_empty(self, layer, implementation):
        pass
