"""Numbers that are not ordinary: where a NaN or an infinity goes, and where it must not."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.measuring.checking import error_of

SPREADING = {"winograd"}  # families whose docstrings say that a NaN spreads further, by a cell here
# test_fft.py and test_strassen.py tell how far those two spread it.
LOCAL = [name for name in fc.implementations("conv2d") if name not in ("reference", "fft", "strassen")]
CASES = {
    "3x3": ((1, 8, 20, 20), (8, 8, 3, 3), {"padding": 1}),
    "few channels": ((1, 3, 20, 40), (8, 3, 3, 3), {"padding": 2}),
    "depthwise": ((1, 32, 20, 20), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    "1x1": ((1, 32, 9, 9), (20, 32, 1, 1), {}),
}


def arrays(case, layout):
    x_shape, w_shape, options = CASES[case]
    rng = np.random.default_rng(5)
    x, w = (rng.integers(-3, 4, shape).astype(np.float32) for shape in (x_shape, w_shape))
    bias = rng.integers(-3, 4, w_shape[0]).astype(np.float32)
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    return x, w, bias, {"layout": layout, **options}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", LOCAL)
def test_the_first_cell_reaches_only_its_windows(implementation, case, layout, value):
    x, w, bias, options = arrays(case, layout)
    try:
        clean = fc.conv2d(x, w, bias, implementation=implementation, **options)
    except ValueError as error:
        pytest.skip(str(error))
    x.reshape(-1)[0] = value
    with np.errstate(invalid="ignore"):
        found = fc.conv2d(x, w, bias, implementation=implementation, **options)
    if layout == "NHWC":
        clean, found = np.moveaxis(clean, -1, 1), np.moveaxis(found, -1, 1)
    near = 4 if implementation in SPREADING else 3
    assert not np.isfinite(found[..., :near, :near]).all()
    np.testing.assert_array_equal(found[..., near:, :], clean[..., near:, :])
    np.testing.assert_array_equal(found[..., near:], clean[..., near:])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", [name for name in fc.implementations("conv2d") if name != "reference"])
def test_large_values_have_the_room_that_the_record_states(implementation, case, layout):
    """Up to the largest float over its `room`, powers of two change the exponent of a result and no digit of it."""
    x, w, _, options = arrays(case, layout)
    try:
        ordinary = fc.conv2d(x, w, implementation=implementation, **options)
    except ValueError as error:
        pytest.skip(str(error))
    terms = fc.conv2d(np.abs(x), np.abs(w), implementation="loops", **options)
    largest = np.finfo(np.float32).max / error_of("conv2d", implementation).room
    power = int(np.floor(np.log2(largest / max(np.abs(x).max(), terms.max()))))
    found = fc.conv2d(np.ldexp(x, power), w, implementation=implementation, **options)
    np.testing.assert_array_equal(found, np.ldexp(ordinary, power))
    assert np.abs(found).max() > largest / 100


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", [name for name in fc.implementations("conv2d") if name != "reference"])
def test_a_bias_of_infinity_reaches_only_its_channel(implementation, case, layout):
    x, w, bias, options = arrays(case, layout)
    try:
        clean = fc.conv2d(x, w, bias, implementation=implementation, **options)
    except ValueError as error:
        pytest.skip(str(error))
    bias[0] = np.inf
    found = fc.conv2d(x, w, bias, implementation=implementation, **options)
    if layout == "NHWC":
        clean, found = np.moveaxis(clean, -1, 1), np.moveaxis(found, -1, 1)
    assert np.isinf(found[:, 0]).all()
    np.testing.assert_array_equal(found[:, 1:], clean[:, 1:])


def test_fold_starts_from_zero_whatever_the_first_column_holds():
    columns = np.ones((1, 4, 9), np.float32)
    columns[0, 0, 0] = np.inf
    image = fc.fold(columns, (4, 4), (2, 2))
    assert np.isinf(image[0, 0, 0, 0])
    assert np.isfinite(image.reshape(-1)[1:]).all()


def test_the_mean_of_a_large_plane_is_not_lost_in_its_own_sum():
    """Each further cell counts: the error grows with the logarithm of their number, not with their number."""
    x = np.full((1, 1, 4096, 4096), 0.1, np.float32)
    for operation in ("avg", "max"):
        found = float(getattr(fc, f"global_{operation}_pool")(x)[0, 0, 0, 0])
        assert abs(found / float(x[0, 0, 0, 0]) - 1) <= np.finfo(np.float32).eps * np.log2(x.size) ** 2


SUMS = [
    ("conv2d", name, options)
    for name in fc.implementations("conv2d")
    for options in ({"padding": 1}, {"padding": 1, "layout": "NHWC"})
    if name != "reference"
]


def call_of(operation, name, options, x):
    """A function of an array, or None where the implementation does not serve it."""
    if operation == "conv2d":
        one = name == "separable"
        x = x[:, :1] if one else x
        groups = x.shape[1] if name == "depthwise" else 1
        w = np.full((x.shape[1], x.shape[1] // groups, 3, 3), 0.5, np.float32)
        if options.get("layout") == "NHWC":
            x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
        options = {**options, "groups": groups}
        try:
            plan = fc.conv2d.plan(x.shape, w, implementation=name, **options)
        except ValueError:
            return None, x
        return plan, x
    return getattr(fc, operation).plan(x.shape, implementation=name, **options), x


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("operation", "name", "options"),
    [
        *SUMS,
        *(("avg_pool2d", name, {"kernel_size": 3, "stride": 1}) for name in ("running", "direct", "loops")),
        *(("lp_pool2d", name, {"norm_type": 2, "kernel_size": 3}) for name in ("direct", "loops")),
        *((operation, name, {}) for operation in ("silu", "hardswish", "leaky_relu") for name in ("direct", "loops")),
    ],
)
def test_denormals_cost_what_the_processor_makes_of_them(operation, name, options, threads):
    """And no more: the least of three times on one thread, against the same on ones.

    Where a product of denormals needs microcode, as on Intel's processors, it takes over a hundred times as long.
    """
    from time import perf_counter

    fc.set_num_threads(1)  # others may wait for a processor
    plan, x = call_of(operation, name, options, np.full((1, 32, 24, 24), 1e-40, np.float32))
    if plan is None:
        pytest.skip("not served")

    def seconds(array):
        plan(array)
        times = []
        for _ in range(3):
            begun = perf_counter()
            plan(array)
            times.append(perf_counter() - begun)
        return min(times)

    assert seconds(x) < 500 * seconds(np.ones_like(x))


def test_zeros_keep_their_signs_where_nothing_is_added():
    """Pools of maxima and unpooling move cells; relu of a zero is the zero."""
    x = np.array([[[-0.0, -0.0, 0.0, 0.0, -0.0, -0.0]]], np.float32)
    for operation in ("max_pool1d", "min_pool1d"):
        expected = getattr(fc, operation)(x, 2, implementation="reference")
        for name in fc.implementations(operation):
            try:
                found = getattr(fc, operation)(x, 2, implementation=name)
            except ValueError:
                continue
            assert found.tobytes() == expected.tobytes(), name
    for name in fc.implementations("relu"):
        assert fc.relu(x, implementation=name).tobytes() == x.tobytes(), name


@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint8", "int32", *(pytest.param(one, marks=pytest.mark.slow) for one in ("int16", "uint32", "int64", "uint64"))],
)
def test_integers_wrap_as_numpys(dtype):
    """Sums and products past the range, in every implementation that takes integers."""
    limits = np.iinfo(dtype)
    x = np.array([[[limits.max, limits.max, limits.min, 3, limits.max]]], dtype)
    w = np.array([[[limits.max, 2, 3]]], dtype)
    with np.errstate(over="ignore"):
        expected = np.array([[[(x[0, 0, i : i + 3] * w[0, 0]).sum(dtype=dtype) for i in range(3)]]], dtype)
    ran = []
    for name in fc.implementations("conv1d"):
        try:
            found = fc.conv1d(x, w, implementation=name)
        except ValueError:
            continue
        ran.append(name)
        np.testing.assert_array_equal(found, expected, name)
    assert {"im2col", "loops", "strided", "reference"} <= set(ran)


def test_half_precision_is_rounded_once():
    """Products and sums in float32: 2048 + 1 + 1 is 2050, which a sum in float16 would never reach."""
    x, w = np.array([[[2048, 1, 1]]], np.float16), np.ones((1, 1, 3), np.float16)
    for name in fc.implementations("conv1d"):
        try:
            found = fc.conv1d(x, w, implementation=name)
        except ValueError:
            continue
        assert found.dtype == np.float16
        assert found.item() == 2050, name
    assert fc.avg_pool1d(np.full((1, 1, 2), 65504, np.float16), 2).item() == 65504


FILTERS = {
    "grey": ((1, 1, 24, 70), (1, 1, 3, 5), {"padding": (1, 2)}),
    "planes": ((1, 3, 24, 70), (3, 1, 4, 3), {"groups": 3}),
    "colours": ((1, 3, 24, 70), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize(("row", "value"), [(7, np.nan), (8, np.inf), (11, -np.inf)])
@pytest.mark.parametrize("case", FILTERS)
@pytest.mark.parametrize("implementation", ["direct", "separable", "depthwise"])
def test_rows_that_go_together_keep_their_neighbours_cells_out(implementation, case, row, value):
    """Two rows of a tile share what they read, but not what lies in one window alone."""
    x_shape, w_shape, options = FILTERS[case]
    rng = np.random.default_rng(6)
    x, w = rng.standard_normal(x_shape).astype(np.float32), rng.standard_normal(w_shape).astype(np.float32)
    x[0, 0, row, 33] = value
    if case == "colours":
        if implementation == "separable":
            pytest.skip("it serves channels first")
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
        options = {**options, "layout": "NHWC"}
    with np.errstate(invalid="ignore"):
        expected = fc.conv2d(x, w, implementation="reference", **options)
        found = fc.conv2d(x, w, implementation=implementation, **options)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
