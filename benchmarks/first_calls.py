"""What the first call of each function of fastconv.ndimage takes: CPU seconds in a new process with an empty cache of kernels.

    python -m benchmarks.first_calls --dtype float32

The seconds are those of the process from its begin to the end of the call; those until fastconv was imported stand beside them.
The cache of kernels is a folder of its own for each process, and goes with it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from fastconv.measuring.filters import ALONE, NEEDS
from fastconv.ndimage import __all__ as functions

SIDE = 256
CALL = """
import json, sys, time
import fastconv
imported = time.process_time()
from fastconv.measuring.filters import call_of
name, dtype, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
fastconv.set_num_threads(1)
call = call_of(f"ndimage.{name}", (side, side), dtype).of("fastconv")
before = time.process_time()
call()
after = time.process_time()
call()
print(json.dumps([imported, after - before + imported, time.process_time() - after]))
"""


def first_call(name: str, dtype: str, side: int = SIDE) -> tuple[float, float, float]:
    """CPU seconds of importing fastconv, of that and a first call, and of a second call."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", CALL, name, dtype, str(side)]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    imported, first, second = json.loads(found.stdout)
    return imported, first, second


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", help="of the image (%(default)s)")
    parser.add_argument("--match", default="", help="only functions with this in their name")
    given = parser.parse_args()
    print(f"{'function':32}{'import':>9}{'first':>9}{'second':>11}")
    worst = ("", 0.0)
    for name in functions:
        if name in (*NEEDS, *ALONE) and given.match in name:
            imported, first, second = first_call(name, given.dtype)
            print(f"{name:32}{imported:9.2f}{first:9.2f}{second:11.5f}", flush=True)
            worst = max(worst, (name, first), key=lambda one: one[1])
    print(f"the longest: {worst[0]}, {worst[1]:.2f} s")


if __name__ == "__main__":
    main()
