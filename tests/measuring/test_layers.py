"""The named layers are those of the papers: their counts, their work, and the way one follows another."""

from itertools import pairwise

import numpy as np
import pytest

import fastconv as api
from fastconv import explain
from fastconv.measuring import layers

# Multiplications of one image's convolutions, as published: torchvision's tables for the first four, the papers' for others.
PUBLISHED_PRODUCTS = {"resnet50": 4.09e9, "vgg19": 19.51e9, "mobilenetv2": 0.30e9, "densenet121": 2.83e9, "c3d": 38.5e9}
CONVOLUTIONS = {"resnet50": 53, "vgg19": 16, "mobilenetv2": 52, "densenet121": 120, "unet": 23, "c3d": 8}
EVERY_LAYER = [layers.layer(name) for name in layers.names()]


def planned(layer):
    """The plan of the layer's first implementation that needs no packing."""
    weights = () if layer.w_shape is None else (np.broadcast_to(np.float32(0), layer.w_shape),)
    plan = getattr(api, layer.operation).plan
    return plan(layer.x_shape, *weights, x_dtype=np.float32, implementation="reference", **layer.kwargs)


@pytest.mark.parametrize("network", PUBLISHED_PRODUCTS)
def test_the_convolutions_of_a_network_do_the_published_work(network):
    products = sum(
        layer.count * planned(layer).geometry.flops / 2 for layer in layers.network(network) if layer.w_shape is not None
    )
    assert products == pytest.approx(PUBLISHED_PRODUCTS[network], rel=0.01)


@pytest.mark.parametrize("network", CONVOLUTIONS)
def test_a_network_has_as_many_convolutions_as_its_paper_says(network):
    assert sum(layer.count for layer in layers.network(network) if layer.w_shape is not None) == CONVOLUTIONS[network]


@pytest.mark.parametrize("network", ["vgg19", "c3d"])
def test_in_a_chain_each_layer_takes_what_the_one_before_gives(network):
    chain = layers.network(network)
    for before, after in pairwise(chain):
        assert planned(before).out_shape == after.x_shape, f"{before.name} -> {after.name}"


def test_unet_ends_in_the_map_that_its_paper_prints():
    assert planned(layers.layer("unet.out_1x1")).out_shape == (1, 2, 388, 388)


@pytest.mark.parametrize("layer", EVERY_LAYER, ids=lambda layer: layer.name)
def test_every_layer_is_a_valid_call(layer):
    weights = () if layer.w_shape is None else (layer.w_shape,)
    assert "is chosen" in explain(layer.operation, layer.x_shape, *weights, **layer.kwargs)


def test_names_are_distinct_and_found_again():
    assert len(set(layers.names())) == len(layers.names())
    assert [layer.name for network in layers.networks() for layer in layers.network(network)] == list(layers.names())


def test_both_layouts_hold_the_same_values_in_their_own_order():
    layer = layers.layer("mobilenetv2.b3_dw")
    first, last = layer.arrays(np.float32, "NCHW", seed=3), layer.arrays(np.float32, "NHWC", seed=3)
    assert first[0].shape == layer.x_shape
    assert first[1].shape == layer.w_shape
    for a, b in zip(first, last, strict=True):
        assert a.flags.c_contiguous
        assert b.flags.c_contiguous
        assert np.array_equal(a, np.moveaxis(b, -1, 1))


def test_arrays_depend_on_the_seed_alone():
    layer = layers.layer("wavenet.skip")
    again, other = layer.arrays(seed=1)[0], layer.arrays(seed=2)[0]
    assert np.array_equal(layer.arrays(seed=1)[0], again)
    assert not np.array_equal(again, other)


def test_a_layer_with_pixels_in_memory_order_says_so():
    layer = layers.layer("filters.rgb_k3")
    assert layer.layout == "NHWC"
    assert layer.arrays()[0].shape == (1, 1024, 1024, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint16, np.complex64])
def test_arrays_come_in_every_kind_of_dtype(dtype):
    x, w = layers.layer("resnet50.res5_3x3").arrays(dtype)
    assert x.dtype == w.dtype == dtype
    assert len(np.unique(x)) > 4


def test_a_pool_has_no_weights():
    assert layers.layer("resnet50.pool1").arrays()[1] is None


def test_a_batch_changes_nothing_but_the_batch():
    layer = layers.layer("c3d.conv1a").with_batch(4)
    assert layer.x_shape == (4, 3, 16, 112, 112)
    assert layer.w_shape == layers.layer("c3d.conv1a").w_shape


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("res3_3x3", "resnet50.res3_3x3"), ("resnet50.res33x3", "resnet50.res3_3x3"), ("qqqq", "names begin with resnet50.")],
)
def test_an_unknown_layer_is_an_error_with_a_hint(wrong, hint):
    with pytest.raises(ValueError, match=f"no layer is called '{wrong}'.*{hint}"):
        layers.layer(wrong)


def test_an_unknown_network_is_an_error_that_lists_all():
    with pytest.raises(ValueError, match="no network is called 'resnet'; there are resnet50, vgg19"):
        layers.network("resnet")


def test_a_layout_of_another_rank_is_an_error():
    with pytest.raises(ValueError, match=r"layout of c3d\.conv1a must be one of NCDHW, NDHWC, not 'NCHW'"):
        layers.layer("c3d.conv1a").arrays(layout="NCHW")
