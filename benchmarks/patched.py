"""scikit-image's functions that call SciPy's, before and after fastconv.patch_scipy(): milliseconds, and what differs.

    taskset -c 0 python -m benchmarks.patched --side 1024

on one thread, medians of a few rounds, before and after in turn.
"""

import argparse
from statistics import median

import numpy as np

import fastconv as fc
from fastconv.plans.timing import timed_round

ROUNDS, SECONDS = 3, 0.1


def calls(side: int) -> dict:
    """Calls by what they are."""
    from skimage import feature, filters, morphology

    x = np.random.default_rng(0).random((side, side), np.float32)
    grey, disk = (255 * x).astype(np.uint8), morphology.disk(5)
    return {
        "filters.gaussian, sigma 2": lambda: filters.gaussian(x, 2),
        "filters.sobel": lambda: filters.sobel(x),
        "filters.sato, sigmas 1 to 3": lambda: filters.sato(x, range(1, 4)),
        "filters.median, disk 3, uint8": lambda: filters.median(grey, morphology.disk(3)),
        "feature.canny, sigma 2": lambda: feature.canny(x, 2),
        "feature.structure_tensor, sigma 1.5": lambda: np.array(feature.structure_tensor(x, 1.5)),
        "morphology.dilation, disk 5, uint8": lambda: morphology.dilation(grey, disk),
        "morphology.opening, disk 5, uint8": lambda: morphology.opening(grey, disk),
        "morphology.white_tophat, disk 5, uint8": lambda: morphology.white_tophat(grey, disk),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, help="rows and columns of the image (%(default)s)")
    given = parser.parse_args()
    fc.set_num_threads(1)
    print(f"{'scikit-image':40}{'SciPy':>10}{'fastconv':>10}{'times':>8}  largest difference")
    for name, call in calls(given.side).items():
        before, times = call(), {"before": [], "after": []}
        with fc.patch_scipy():
            after = call()
        for _ in range(ROUNDS):
            times["before"] += timed_round(call, SECONDS)
            with fc.patch_scipy():
                times["after"] += timed_round(call, SECONDS)
        taken = {when: 1e3 * median(found) for when, found in times.items()}
        apart = np.abs(before.astype(float) - after.astype(float))
        where = f" in {np.count_nonzero(apart)} cells" if before.dtype == bool and apart.any() else ""
        ratio = taken["before"] / taken["after"]
        print(f"{name:40}{taken['before']:10.1f}{taken['after']:10.1f}{ratio:7.1f}x  {apart.max():.2g}{where}", flush=True)


if __name__ == "__main__":
    main()
