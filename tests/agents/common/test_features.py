"""Feature maps: values by hand, coverage, errors."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.common.features import (
    FEATURE_MAPS,
    FourierBasis,
    Identity,
    OneHot,
    PolynomialBasis,
    RadialBasis,
    TileCoding,
    make_feature_map,
)
from agents.common.features.extractor import FeatureMapExtractor

UNIT = spaces.Box(0.0, 1.0, (1,), dtype=np.float64)
SQUARE = spaces.Box(0.0, 1.0, (2,), dtype=np.float64)


def test_tilings_are_displaced_by_an_even_share_of_a_tile():
    # Four tiles of width .25; the second tiling lies half a tile further up, so it turns over at .375, .625, .875; its
    # first tile takes in what is left over below.
    tiling = TileCoding(UNIT, n_tilings=2, n_tiles=4, bias=False)
    expected = {0.05: [0, 4], 0.2: [0, 4], 0.3: [1, 4], 0.4: [1, 5], 0.7: [2, 6], 0.8: [3, 6], 0.9: [3, 7]}
    for value, indices in expected.items():
        assert tiling([value]).tolist() == indices, value


def test_tilings_of_a_square_use_odd_multiples_in_the_second_dimension():
    # With 10 tilings of 10x10 tiling i is displaced by i / 10 and 3 i / 10 (modulo 1) of a tile.
    tiling = TileCoding(SQUARE, bias=False)
    x, y = 0.234, 0.678
    by_hand = []
    for i in range(10):
        column = int(np.floor(x * 10 - i / 10))
        row = int(np.floor(y * 10 - (3 * i % 10) / 10))
        by_hand.append(i * 100 + column * 10 + row)
    assert tiling([x, y]).tolist() == by_hand


def test_no_tile_at_the_upper_edge_is_wider_than_the_others():
    # Displaced downwards, every displaced tiling would end in one tile of nearly twice the width. Mountain car has its
    # goal there, and one in ten of Off-PAC's seeds then needs 140 steps instead of 115.
    tiling = TileCoding(UNIT, n_tilings=10, n_tiles=10, bias=False)
    last = tiling([1.0])
    inside, outside = tiling([0.9 - 1e-9]), tiling([0.95])
    assert not np.isin(last, inside).any()
    assert np.isin(last, outside).sum() == 6


def test_displacements_cover_all_slices_in_every_dimension():
    # A multiple that shares a divisor with n_tilings (5 of 10) would leave only two displacements.
    for n_tilings in (1, 4, 8, 9, 10, 15):
        tiling = TileCoding(spaces.Box(0, 1, (4,)), n_tilings=n_tilings, n_tiles=2)
        for column in tiling.displacements.T:
            assert sorted(column) == list(range(n_tilings))


def test_the_same_map_is_built_every_time():
    observations = np.random.default_rng(0).random((50, 2))
    np.testing.assert_array_equal(TileCoding(SQUARE).batch(observations), TileCoding(SQUARE).batch(observations))


def test_tile_coding_counts_and_bias():
    tiling = TileCoding(SQUARE, n_tilings=10, n_tiles=10)
    assert (tiling.n_features, tiling.n_active) == (1001, 11)
    assert tiling([0.5, 0.5])[-1] == 1000
    assert TileCoding(SQUARE, n_tilings=3, n_tiles=(2, 5), bias=False).n_features == 30


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-2, 3), min_size=2, max_size=2),
    n_tilings=st.integers(1, 12),
    n_tiles=st.integers(1, 9),
)
def test_active_tiles_are_all_different_and_one_per_tiling(values, n_tilings, n_tiles):
    tiling = TileCoding(SQUARE, n_tilings=n_tilings, n_tiles=n_tiles)
    indices = tiling(values)
    assert indices[-1] == tiling.n_features - 1
    np.testing.assert_array_equal(indices[:-1] // n_tiles**2, np.arange(n_tilings))


def test_observations_outside_count_as_lying_on_the_edge():
    tiling = TileCoding(SQUARE)
    np.testing.assert_array_equal(tiling([-5.0, 0.5]), tiling([0.0, 0.5]))
    np.testing.assert_array_equal(tiling([0.5, 1e300]), tiling([0.5, 1.0]))


@given(
    values=st.lists(st.tuples(*[st.floats(-2, 3, width=32)] * 2), min_size=1, max_size=5), n_tilings=st.integers(1, 11)
)
def test_a_batch_has_the_tiles_of_each_observation(values, n_tilings):
    tiling = TileCoding(SQUARE, n_tilings=n_tilings, n_tiles=7)
    observations = np.array([*values, (0.0, 1.0), (1e300, -1e300)])
    np.testing.assert_array_equal(tiling.batch(observations), np.stack([tiling(value) for value in observations]))


def test_nan_has_no_tile():
    with pytest.raises(ValueError, match="NaN and infinity lie in no tile"):
        TileCoding(SQUARE)([0.5, np.nan])
    with pytest.raises(ValueError, match=r"\[0.5, nan\], but NaN and infinity lie in no tile"):
        TileCoding(SQUARE).batch([[0.5, 0.5], [0.5, np.nan]])


def test_unbounded_boxes_need_bounds_from_the_user():
    cart_pole = spaces.Box(np.array([-4.8, -np.inf], np.float32), np.array([4.8, np.inf], np.float32))
    with pytest.raises(ValueError, match=r"no finite bounds for entry 1 .*low=.*high="):
        TileCoding(cart_pole)
    huge = spaces.Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (1,))
    with pytest.raises(ValueError, match="no finite bounds for entry 0"):
        TileCoding(huge)
    given = TileCoding(cart_pole, low=[-4.8, -3.0], high=[4.8, 3.0])
    np.testing.assert_array_equal(given.high, [4.8, 3.0])


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="low must be below high"):
        TileCoding(SQUARE, low=[0.0, 1.0], high=[1.0, 0.0])


def test_dense_view_is_one_at_the_active_indices():
    tiling = TileCoding(SQUARE, n_tilings=2, n_tiles=2)
    dense = tiling.dense([[0.1, 0.1], [0.9, 0.9]])
    assert dense.shape == (2, 9)
    for row, observation in zip(dense, [[0.1, 0.1], [0.9, 0.9]], strict=True):
        np.testing.assert_array_equal(np.flatnonzero(row), np.sort(tiling(observation)))
        assert row.sum() == 3


def test_fourier_basis_is_the_cosine_of_scaled_observations():
    basis = FourierBasis(spaces.Box(-1.0, 1.0, (2,)), order=1)
    np.testing.assert_array_equal(basis.coefficients, [[0, 0], [0, 1], [1, 0], [1, 1]])
    # (-.5, .5) scales to (.25, .75)
    expected = [1.0, np.cos(np.pi * 0.75), np.cos(np.pi * 0.25), np.cos(np.pi)]
    np.testing.assert_allclose(basis([-0.5, 0.5]), expected, atol=1e-12)
    np.testing.assert_allclose(basis.step_size_scales, [1, 1, 1, 1 / np.sqrt(2)])


def test_radial_basis_by_hand_and_normalized():
    basis = RadialBasis(UNIT, n_centers=3, width=0.5, normalized=False)
    np.testing.assert_allclose(basis([0.5]), [np.exp(-0.5), 1.0, np.exp(-0.5)])
    assert RadialBasis(UNIT, n_centers=3)([0.2]).sum() == pytest.approx(1.0)


def test_narrow_radial_functions_do_not_vanish_between_centers():
    values = RadialBasis(UNIT, n_centers=3, width=1e-3)([0.25])
    np.testing.assert_allclose(values, [0.5, 0.5, 0.0])


def test_polynomial_basis_by_hand():
    basis = PolynomialBasis(SQUARE, order=2)
    # (.75, 0) scales to (.5, -1); exponents (0,0), (0,1), (0,2), (1,0), (1,1), (2,0)
    np.testing.assert_allclose(basis([0.75, 0.0]), [1.0, -1.0, 1.0, 0.5, -0.5, 0.25])


def test_identity_flattens_and_adds_nothing():
    np.testing.assert_array_equal(Identity(spaces.Box(-9, 9, (2, 2)))([[1, 2], [3, 4]]), [1.0, 2.0, 3.0, 4.0])


def test_identity_copies_because_environments_reuse_their_arrays():
    observation = np.zeros(2)
    features = Identity(spaces.Box(-1, 1, (2,)))(observation)
    observation[:] = 7.0
    np.testing.assert_array_equal(features, [0.0, 0.0])


def test_one_hot_counts_from_the_start_of_the_space():
    assert OneHot(spaces.Discrete(4, start=-1))(np.int64(1)).tolist() == [2]
    multi = OneHot(spaces.MultiDiscrete([2, 3]))
    assert (multi.n_features, multi.n_active) == (5, 2)
    assert multi([1, 2]).tolist() == [1, 4]


def test_one_hot_refuses_values_outside():
    with pytest.raises(ValueError, match="must lie in"):
        OneHot(spaces.Discrete(3))(3)


@pytest.mark.parametrize("name", ["tile-coding", "fourier", "rbf", "polynomial", "identity"])
def test_maps_of_boxes_refuse_discrete_spaces_and_say_what_fits(name):
    with pytest.raises(ValueError, match="one-hot"):
        make_feature_map(name, spaces.Discrete(3))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=", ".join(sorted(FEATURE_MAPS))):
        make_feature_map("wavelets", UNIT)
    with pytest.raises(ValueError, match="must build"):
        make_feature_map(lambda space: np.sin, UNIT)


def test_extractor_gives_torch_policies_the_dense_view():
    extractor = FeatureMapExtractor(SQUARE, features="fourier", order=2)
    assert extractor.features_dim == 9
    observations = np.random.default_rng(0).random((5, 2))
    out = extractor(th.as_tensor(observations))
    assert out.dtype == th.float32
    np.testing.assert_allclose(out.numpy(), extractor.feature_map.dense(observations), rtol=1e-6)
