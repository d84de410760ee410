"""What tests of converted torch models share; only they import it."""

from fastconv.torch.layers import Layer

BOUND = 1e-4  # of the largest output: winograd's and strassen's rounding over many layers


def close(found, expected):
    """Within BOUND of the largest output."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    far = (found - expected).abs().max().item()
    assert far <= BOUND * expected.abs().max().item(), far


def layers_of(model):
    return [one for one in model.modules() if isinstance(one, Layer)]
