"""What single rules do, in the cases that whole wrappers seldom meet."""

import numpy as np
import pytest
from gymnasium import spaces

from wrappers.rules import RunningOptions, build
from wrappers.transforms import PIECE_FLOATS, Bounds, Image, OneHot, Running

FREE = spaces.Box(-np.inf, np.inf, (2,), np.float32)


@pytest.mark.parametrize("n", [1024, 1025, 5000])
def test_batches_of_any_size_are_learned_from_whole(n):
    batch = np.random.default_rng(0).normal(7, 3, (n, 2))
    running = Running("x", FREE, prior_count=0.0)
    got = running(batch, update=True)
    assert running.statistics.n_samples == n
    np.testing.assert_allclose(got, (batch - batch.mean(0)) / np.sqrt(batch.var(0) + 1e-8), rtol=1e-5, atol=1e-6)


def test_large_frozen_batches_are_worked_through_in_pieces(monkeypatch):
    running = Running("x", FREE)
    running.statistics.update(np.random.default_rng(1).normal(7, 3, (50, 2)))
    batch = np.random.default_rng(2).normal(7, 3, (PIECE_FLOATS // 2 + 13, 2)).astype(np.float32)
    sizes = []
    standardize = running.statistics.standardize
    monkeypatch.setattr(
        running.statistics,
        "standardize",
        lambda b, *args, **kwargs: sizes.append(len(b)) or standardize(b, *args, **kwargs),
    )
    got = running(batch, update=False)
    assert sizes == [PIECE_FLOATS // 2, 13]
    expected = (batch - running.statistics.mean) / np.sqrt(running.statistics.var + 1e-8)
    np.testing.assert_array_equal(got, expected.astype(np.float32))


def test_inverses_undo_what_is_not_clipped():
    raw = np.random.default_rng(3).normal(2, 1, (6, 2))
    running = Running("x", FREE)
    running.statistics.update(raw)
    bounds = Bounds("x", FREE, np.array([-10.0, 1.0]), np.array([20.0, 9.0]))
    inside = np.clip(raw, [-10, 1], [20, 9])
    np.testing.assert_allclose(running.inverse(running(raw, update=False)), raw, rtol=1e-5)
    np.testing.assert_allclose(bounds.inverse(bounds(inside, update=False)), inside, rtol=1e-5)


def test_during_the_warm_up_the_inverse_changes_nothing_either():
    running = Running("x", FREE, warmup=9)
    running.statistics.update(np.full((3, 2), 5.0))
    np.testing.assert_array_equal(running.inverse(np.ones((1, 2))), 1.0)


def test_equal_bounds_give_zero_and_back_the_bound():
    bounds = Bounds("x", FREE, np.array([5.0, 0.0]), np.array([5.0, 1.0]))
    got = bounds(np.array([[5.0, 0.5], [7.0, 0.5]]), update=False)
    np.testing.assert_array_equal(got, 0.0)
    np.testing.assert_array_equal(bounds.inverse(got), [[5.0, 0.5]] * 2)


def test_bytes_take_a_shorter_way_to_the_same_numbers():
    batch = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    image = Image("x", spaces.Box(0, 255, (16, 16), np.uint8))
    short, general = image(batch, update=False), image(batch.astype(np.float64), update=False)
    assert short.dtype == general.dtype == np.float32
    np.testing.assert_allclose(short, general, rtol=1e-7)
    other = Image("x", spaces.Box(0, 128, (16, 16), np.uint8))
    np.testing.assert_array_equal(other(np.full((1, 16, 16), 64, np.uint8), update=False), 0.5)


def test_categories_below_the_first_are_refused():
    with pytest.raises(ValueError, match=r"mode: a category outside Discrete\(3, start=2\) among \[1\]"):
        OneHot("mode", spaces.Discrete(3, start=2))(np.array([1]), update=False)


def test_categories_of_several_axes_stand_side_by_side():
    encode = OneHot("x", spaces.MultiDiscrete([[2, 2], [3, 1]], start=[[0, 5], [0, 0]]))
    np.testing.assert_array_equal(encode(np.array([[[1, 5], [2, 0]]]), update=False), [[0, 1, 1, 0, 0, 0, 1, 1]])


def test_incomplete_arrays_are_refused_by_name():
    bounds = build(spaces.Box(-1, 1, (2,)), "bounds", "observation 'arm'", RunningOptions())
    arrays = bounds.to_arrays()
    del arrays["high"]
    with pytest.raises(ValueError, match="'arm': the array 'high' is missing"):
        bounds.load_arrays(arrays)
