"""Commands and results that several test modules share."""

from fastconv.measuring import layers
from fastconv.measuring.comparison import Row
from fastconv.measuring.layers import Layer
from fastconv.measuring.report.results import CaseResult, Results

SMALL = ["compare", "--op", "conv2d", "--shape", "1x3x8x8", "--weight", "4x3x3x3", "--seconds", "0.01"]
FEW = [*SMALL, "--implementations", "loops,reference"]
MACHINE = {"cpu": "a CPU", "isa": "avx2", "threads": 2, "fma_peak_gflops": 260.0, "copy_gbytes_per_second": 30.0}
MACHINE |= dict.fromkeys(("python", "numpy", "numba", "fastconv"), "1.2.3")


def full_results(network):
    """Results with the longest names and numbers that there are, made up."""
    rows = [
        Row("winograd", auto=True, status="ok", verified="9,999 of 9,999,999 outputs", seconds=1.234e-4, gflops=1234.5),
        Row("reference", status="ok", verified="9,999 of 9,999,999 outputs", seconds=98765.4, note="extrapolated from " * 3),
        Row("torch_channels_last", peer=True, status="ok", verified="all outputs", seconds=2.345e-4, note="2.13.0+cpu"),
        Row("depthwise", status="wrong", verified="wrong at 12 of all outputs; " * 4, max_error=1.0),
        Row("scipy", peer=True, status="skipped", verified="does not sum over channels " * 4),
    ]
    rate = {"gflops": 1234.5, "gbytes_per_second": 0.000123, "speedup": 1234567.8, "share_of_peak": 2.345, "max_error": 1.2e-5}
    rows = [Row(**{**row.__dict__, **(rate if row.seconds else {})}) for row in rows]
    longest = max((name.partition(".")[2] for name in layers.names()), key=len)
    layer = Layer(f"densenet121.{longest}", "conv_transpose3d", (16, 1024, 99, 99, 99), (1024, 1024, 11, 11, 11), (), 99)
    case = CaseResult(layer, "NCDHW", "complex128", 10**15, 10**12, rows)
    return Results(MACHINE, network, True, [case])
