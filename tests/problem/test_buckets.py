"""Sizes that share a choice: which ones do, and that a plan of one takes what its middle size takes, whatever came before."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.machine import host
from fastconv.plans import dispatch
from fastconv.problem.buckets import PARTS, SMALL, middle


def test_small_sizes_and_round_ones_are_their_own():
    """And so are the maps that networks have."""
    assert [middle(size) for size in range(SMALL)] == list(range(SMALL))
    assert all(middle(size) == size for size in (32, 40, 48, 56, 64, 112, 128, 224, 256, 384, 512, 1024, 2048, 4096))
    for power in range(SMALL.bit_length() - 1, 40):
        for part in range(PARTS):
            size = (1 << power) + part * ((1 << power) // PARTS)
            assert middle(size) == size


def test_others_share_the_middle_of_their_neighbours():
    """It is no more than an eighth away, its own middle, and odd, as Winograd's tiles would else be whole for all."""
    for size in (*range(SMALL, 3000), 10**6 + 1, 10**12 + 7):
        found = middle(size)
        assert abs(found - size) <= size / PARTS / 2
        assert middle(found) == found
        assert found == size or found % 2
    assert len({middle(size) for size in range(129, 160)}) == 1
    assert middle(128) != middle(129) != middle(160)


def test_what_has_no_output_at_its_middle_is_its_own():
    plan = fc.conv1d.plan((1, 1, 155), np.ones((1, 1, 155), np.float32))
    assert middle(155) < 155
    assert plan.problem.representative is plan.problem
    dilated = fc.conv1d.plan((1, 64, 155), np.ones((64, 64, 3), np.float32), dilation=75, implementation="winograd")
    assert dilated.problem.representative is dilated.problem
    assert fc.conv1d.plan((1, 64, 155), np.ones((64, 64, 3), np.float32), dilation=75).out_shape == (1, 64, 5)
    pool = fc.max_pool2d.plan((1, 3, 201, 40), 3).problem
    assert pool.representative.geometry.in_size == (middle(201), 40)
    assert pool.representative.geometry.kernel == (3, 3)


def test_dilated_layers_have_the_cells_that_meet_the_same_taps_for_sizes():
    """77 cells by steps of 18 are five or four: tiles of four outputs are whole at the middle size and not at this one."""
    w = np.ones((8, 8, 3, 3), np.float32)
    wide = fc.conv2d.plan((1, 8, 77, 77), w, padding=18, dilation=18).problem
    assert wide.representative is wide
    narrow = fc.conv2d.plan((1, 8, 77, 77), w, padding=2, dilation=2).problem
    assert narrow.representative.geometry.in_size == (middle(77), middle(77))


@pytest.mark.parametrize("first", [131, 154])
def test_the_choice_is_that_for_the_middle_whatever_came_first(first):
    """One search serves all, and each plan is of its own size."""
    fc.clear_caches()
    w, found = np.ones((16, 8, 3, 3), np.float32), set()
    for size in (first, 129, 140, 145, 159):
        plan = fc.conv2d.plan((1, 8, size, 90), w, padding=1)
        near = plan.problem.representative
        assert near.geometry.in_size == (143, middle(90))
        assert plan.implementation.name == dispatch.cheapest_form("conv2d", near, host(), False, False)[1][1].name
        assert plan.out_shape == (1, 16, size, 90)
        found.add(plan.implementation.name)
    assert len(found) == 1


def test_a_choice_that_does_not_serve_is_made_anew(monkeypatch):
    """Where the middle size has an implementation that the size itself has not."""
    problem = fc.conv2d.plan((1, 8, 131, 90), np.ones((16, 8, 3, 3), np.float32), padding=1).problem
    monkeypatch.setattr(dispatch, "choice_for", lambda *arguments: (0, "toeplitz"))
    form, chosen = dispatch.chosen_form("conv2d", problem, host())
    expected = dispatch.cheapest_form("conv2d", problem, host(), False, False)[1][1]
    assert chosen is expected
    assert form.problem == problem
    monkeypatch.setattr(dispatch, "choice_for", lambda *arguments: (7, "direct"))
    assert dispatch.chosen_form("conv2d", problem, host())[1] is expected


def test_an_implementation_that_is_registered_later_is_seen():
    """The choice that is kept is for the candidates that there were."""
    problem = fc.conv2d.plan((1, 8, 131, 90), np.ones((16, 8, 3, 3), np.float32), padding=1).problem
    near, known = problem.representative, dispatch.candidates("conv2d")
    assert dispatch.choice_for("conv2d", near, host(), False, False, known) == dispatch.choice_for(
        "conv2d", near, host(), False, False, known
    )
    kept = dispatch._choices[("conv2d", near, host(), False, False)]
    dispatch._choices[("conv2d", near, host(), False, False)] = ((), 0, "nothing")
    assert dispatch.choice_for("conv2d", near, host(), False, False, known) == kept[1:]
