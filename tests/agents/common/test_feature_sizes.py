"""Feature maps grow as a power of the dimension: what does not fit is refused before memory is asked for."""

import math
from itertools import product

import numpy as np
import pytest
from gymnasium import spaces

from agents.common.features import FourierBasis, PolynomialBasis, RadialBasis, TileCoding, make_feature_map
from agents.common.features.room import MAX_BYTES
from agents.dpg import DPG
from agents.off_pac import OffPAC
from tests.agents.dpg.toys import BoxProcess
from tests.agents.off_pac.toys import SmallProcess


def box(dimension):
    return spaces.Box(0.0, 1.0, (dimension,), dtype=np.float64)


@pytest.mark.parametrize(
    ("name", "arguments", "dimension", "named"),
    [
        ("tile-coding", {}, 9, r"n_tilings=10 and n_tiles=10 in 9 dimensions .* 10,000,000,001 .*74\.5 GiB"),
        ("tile-coding", {}, 17, "17 dimensions .* about 10\\^18 "),
        ("tile-coding", {"n_tiles": (2,) * 375 + (3,)}, 376, r"376 dimensions .* about 10\^114 .*fewer tiles"),
        ("tile-coding", {"n_tilings": 100_000, "n_tiles": 2}, 1, "n_tilings=100000 .* 20,000,200,000 numbers .*GiB"),
        ("fourier", {}, 14, "order=3 in 14 dimensions .* 268,435,456 .*28.0 GiB.*lower order"),
        ("fourier", {}, 376, r"order=3 in 376 dimensions .* about 10\^226"),
        ("rbf", {}, 12, r"n_centers=5 in 12 dimensions .* 244,140,625 .*21\.8 GiB.*n_centers"),
        ("polynomial", {"order": 20}, 20, r"order=20 in 20 dimensions .* 137,846,528,820 .*lower order"),
    ],
)
def test_maps_that_cannot_fit_are_refused_with_their_size_and_what_to_do(name, arguments, dimension, named):
    with pytest.raises(ValueError, match=named) as failure:
        make_feature_map(name, box(dimension), **arguments)
    assert "but at most 4.0 GiB are allowed; use " in str(failure.value)


@pytest.mark.parametrize("algorithm", [OffPAC, DPG])
def test_a_table_that_cannot_fit_is_refused_although_its_features_could(algorithm):
    # 10^8 features: one number each would be allowed, a column for every output is not.
    env = SmallProcess("vector") if algorithm is OffPAC else BoxProcess("vector")
    env.observation_space = box(7)
    with pytest.raises(
        ValueError, match=r"n_tiles=12 in 7 dimensions .* 358,318,081 features, and . weights .*4\.0 GiB"
    ):
        algorithm("TileCodingPolicy", env, policy_kwargs={"n_tiles": 12})


def test_any_feature_map_can_be_too_large_for_a_table():
    class Many(TileCoding):
        def __init__(self, space):
            super().__init__(space, n_tiles=2)
            self.n_features = MAX_BYTES // 8

    with pytest.raises(ValueError, match="536,870,912 features"):
        OffPAC("LinearPolicy", SmallProcess("vector"), policy_kwargs={"features": Many})


def test_what_fits_is_not_refused():
    assert TileCoding(box(8), n_tilings=5).n_features == 5 * 10**8 + 1
    assert TileCoding(box(30), n_tilings=1, n_tiles=1).n_features == 2
    assert FourierBasis(box(100), order=0).n_features == 1
    assert PolynomialBasis(box(376), order=1).n_features == 377
    assert PolynomialBasis(box(40), order=2).n_features == math.comb(42, 2)


@pytest.mark.parametrize(("dimension", "order"), [(1, 0), (1, 4), (3, 2), (4, 3)])
def test_grids_and_exponents_are_in_the_order_of_counting(dimension, order):
    everything = list(product(range(order + 1), repeat=dimension))
    np.testing.assert_array_equal(FourierBasis(box(dimension), order=order).coefficients, everything)
    low = [powers for powers in everything if sum(powers) <= order]
    np.testing.assert_array_equal(PolynomialBasis(box(dimension), order=order).exponents, low)
    if order:
        grid = list(product(np.linspace(0.0, 1.0, order + 1), repeat=dimension))
        np.testing.assert_array_equal(RadialBasis(box(dimension), n_centers=order + 1).centers, grid)


@pytest.mark.parametrize("make", [TileCoding, FourierBasis, RadialBasis, PolynomialBasis])
def test_bounds_of_the_wrong_length_are_refused_with_the_length_they_need(make):
    with pytest.raises(ValueError, match=r"high= of the shape \(2,\), but .* one number, or 3 .*correct high="):
        make(box(3), low=0.0, high=[1.0, 1.0])
    with pytest.raises(
        ValueError, match=r"low= of the shape \(4,\), but .* or 6 .* in the shape \(2, 3\); correct low="
    ):
        make(spaces.Box(0.0, 1.0, (2, 3)), low=[0.0] * 4, high=1.0)


def test_bounds_of_several_axes_may_be_flat():
    space = spaces.Box(0.0, 9.0, (2, 2), dtype=np.float64)
    flat = TileCoding(space, low=[0.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(flat.low, TileCoding(space, low=[[0.0, 1.0], [2.0, 3.0]]).low)


def test_numbers_of_tiles_of_the_wrong_length_are_refused():
    with pytest.raises(ValueError, match=r"n_tiles=\(3, 4\), but .* one number, or 3 "):
        TileCoding(box(3), n_tiles=(3, 4))
