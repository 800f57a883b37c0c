"""Feature maps by name."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from agents.common.features.base import FeatureMap
from agents.common.features.fourier import FourierBasis
from agents.common.features.identity import Identity
from agents.common.features.one_hot import OneHot
from agents.common.features.polynomial import PolynomialBasis
from agents.common.features.rbf import RadialBasis
from agents.common.features.tile_coding import TileCoding

FEATURE_MAPS: dict[str, type[FeatureMap]] = {
    "fourier": FourierBasis,
    "identity": Identity,
    "one-hot": OneHot,
    "polynomial": PolynomialBasis,
    "rbf": RadialBasis,
    "tile-coding": TileCoding,
}
"""By the name that ``policy_kwargs=dict(features=...)`` takes."""


def make_feature_map(features: Any, observation_space: spaces.Space, **kwargs: Any) -> FeatureMap:
    """Build a feature map from its name, its class or a function.

    Args:
        features: a key of ``FEATURE_MAPS``, or a callable ``(observation_space, **kwargs) -> FeatureMap``.
        observation_space: what the map reads.
        kwargs: passed on.

    Raises:
        ValueError: the name is unknown, or the callable does not return a feature map.
    """
    if isinstance(features, str):
        if features not in FEATURE_MAPS:
            raise ValueError(
                f"features={features!r}, but the known feature maps are {', '.join(sorted(FEATURE_MAPS))}; choose "
                f"one or pass "
                "a callable that builds a FeatureMap from the observation space."
            )
        return FEATURE_MAPS[features](observation_space, **kwargs)  # type: ignore[call-arg]
    feature_map = features(observation_space, **kwargs)
    if not isinstance(feature_map, FeatureMap):
        raise ValueError(
            f"features={features!r} built {type(feature_map).__name__}, but it must build an "
            f"agents.common.features.FeatureMap; "
            "derive your class from it."
        )
    return feature_map
