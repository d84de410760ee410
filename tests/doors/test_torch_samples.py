"""fastconv.torch's functions over torch's own samples of its operators: values, gradients and refusals are torch's."""

import importlib
import sys
import types
import unittest

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.nn import functional  # noqa: E402

import fastconv.torch as ft  # noqa: E402

SLOW = pytest.mark.slow
NAMES = [
    "avg_pool1d",
    *(
        pytest.param(name, marks=SLOW)
        for name in (
            *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
            *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool2d", "avg_pool3d"),
        )
    ),
]


@pytest.fixture(scope="module")
def operators():
    """torch's records of its operators by name. Its module of tests asks for expecttest, of which samples need nothing."""
    if importlib.util.find_spec("expecttest") is None:
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase
        sys.modules["expecttest"] = stand_in
    try:
        found = importlib.import_module("torch.testing._internal.common_methods_invocations")
    except ImportError as error:
        pytest.skip(f"this torch has no samples: {error}")
    finally:
        if getattr(sys.modules.get("expecttest"), "__file__", None) is None:
            sys.modules.pop("expecttest", None)
    return {one.name.rpartition(".")[2]: one for one in found.op_db if one.name.startswith("nn.functional.")}


def tensors_of(sample):
    """The tensors that a sample has gradients of."""
    return [one for one in (sample.input, *sample.args, *sample.kwargs.values()) if torch.is_tensor(one)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", NAMES)
def test_samples_have_torchs_values_and_gradients(name, operators):
    """By every tensor, to a few roundings of float64."""
    ran = 0
    for sample in operators[name].sample_inputs("cpu", torch.float64, requires_grad=True):
        if sample.kwargs.get("return_indices"):
            continue
        given = {key: value for key, value in sample.kwargs.items() if key != "return_indices"}
        expected = getattr(functional, name)(sample.input, *sample.args, **given)
        found = getattr(ft, name)(sample.input, *sample.args, **given)
        torch.testing.assert_close(found, expected)
        dy = torch.linspace(-1, 1, expected.numel(), dtype=expected.dtype).reshape(expected.shape)
        leaves = tensors_of(sample)
        theirs = torch.autograd.grad(expected, leaves, dy)
        torch.testing.assert_close(torch.autograd.grad(found, leaves, dy), theirs, msg=lambda text, s=sample: f"{s}\n{text}")
        ran += 1
    assert ran >= 7


@pytest.mark.parametrize("name", NAMES)
def test_what_torch_refuses_is_refused(name, operators):
    """Samples of errors raise, before anything runs."""
    if operators[name].error_inputs_func is None:
        pytest.skip("torch has no samples of errors")
    for error in operators[name].error_inputs("cpu"):
        sample = error.sample_input
        given = {key: value for key, value in sample.kwargs.items() if key != "return_indices"}
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            getattr(ft, name)(sample.input, *sample.args, **given)
