"""Feature maps: fixed functions from an observation to the vector a linear learner works with.

Each map is a class of its own; all share :class:`~agents.common.features.base.FeatureMap`. Sparse maps (tile coding,
one-hot) name the few features that are 1, so that a learner's cost per step follows them and not the table's size.
"""

from agents.common.features.base import FeatureMap
from agents.common.features.factory import FEATURE_MAPS, make_feature_map
from agents.common.features.fourier import FourierBasis
from agents.common.features.identity import Identity
from agents.common.features.one_hot import OneHot
from agents.common.features.polynomial import PolynomialBasis
from agents.common.features.rbf import RadialBasis
from agents.common.features.tile_coding import TileCoding

__all__ = [
    "FEATURE_MAPS",
    "FeatureMap",
    "FourierBasis",
    "Identity",
    "OneHot",
    "PolynomialBasis",
    "RadialBasis",
    "TileCoding",
    "make_feature_map",
]
