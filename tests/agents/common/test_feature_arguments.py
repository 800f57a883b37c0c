"""What feature maps are made with: whole numbers where things are counted, widths and spaces that give features."""

import numpy as np
import pytest
from gymnasium import spaces

from agents.common.features import FourierBasis, PolynomialBasis, RadialBasis, TileCoding

BOX = spaces.Box(0.0, 1.0, (2,), dtype=np.float64)


@pytest.mark.parametrize(
    ("make", "name", "least"),
    [
        (TileCoding, "n_tilings", 1),
        (TileCoding, "n_tiles", 1),
        (FourierBasis, "order", 0),
        (PolynomialBasis, "order", 0),
        (RadialBasis, "n_centers", 2),
    ],
)
def test_counts_are_whole_numbers(make, name, least):
    for given in (2.5, 2.0, "2", None, least - 1, np.float64(3.0)):
        with pytest.raises(ValueError, match=rf"{name}=.*, but it must be a whole number, at least {least}; "):
            make(BOX, **{name: given})
    for given in (3, np.int64(3), np.array(3)):
        made = make(BOX, **{name: given})
        assert made.n_features == make(BOX, **{name: 3}).n_features
        assert made(np.array([0.3, 0.7])).shape == (made.n_active if made.sparse else made.n_features,)
    with pytest.raises(ValueError, match=r"at most 4\.0 GiB are allowed"):
        make(BOX, **{name: 10**30})


def test_each_number_of_tiles_is_a_whole_one():
    with pytest.raises(ValueError, match=r"n_tiles=\(3, 2\.7\), but it must be a whole number, at least 1"):
        TileCoding(BOX, n_tiles=(3, 2.7))
    with pytest.raises(ValueError, match=r"n_tiles=\[3, 0\], but it must be a whole number, at least 1"):
        TileCoding(BOX, n_tiles=[3, 0])
    assert TileCoding(BOX, n_tiles=np.array([3, 4])).n_tiles == (3, 4)


@pytest.mark.parametrize("width", [1e-200, 0.0, -1.0, np.nan, np.inf])
def test_radial_functions_have_a_width_that_tells_observations_apart(width):
    with pytest.raises(ValueError, match=r"width=.*, but it must lie between 1e-09 and 1e\+09; None takes"):
        RadialBasis(BOX, width=width)
    assert np.isfinite(RadialBasis(BOX, width=1e-9)(np.array([0.3, 0.7]))).all()


@pytest.mark.parametrize("make", [TileCoding, FourierBasis, PolynomialBasis, RadialBasis])
def test_an_observation_without_entries_has_no_features(make):
    with pytest.raises(ValueError, match=r"shape \(0,\).*, but .* at least one entry; "):
        make(spaces.Box(0.0, 1.0, (0,)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_lies_in_no_tile(value):
    features = TileCoding(BOX)
    for call in (features, lambda observation: features.batch([[0.5, 0.5], observation])):
        with pytest.raises(ValueError, match=rf"{value}.*NaN and infinity lie in no tile; mend"):
            call([0.5, value])
    # Finite numbers outside do, however large.
    np.testing.assert_array_equal(features([1e308, -1e308]), features([1.0, 0.0]))
    np.testing.assert_array_equal(features.batch([[1e308, -1e308]]), [features([1.0, 0.0])])
