"""A feature map as a features extractor of Stable-Baselines3, for any policy of its kind.

Example::

    PPO("MlpPolicy", env, policy_kwargs=dict(
        features_extractor_class=FeatureMapExtractor,
        features_extractor_kwargs=dict(features="fourier", order=5),
    ))
"""

from __future__ import annotations

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.common.features.factory import make_feature_map


class FeatureMapExtractor(BaseFeaturesExtractor):
    """Dense view of a feature map; nothing in it is learned and no gradient passes through it.

    Args:
        observation_space: a Box; the maps of discrete spaces are what SB3's own preprocessing does already.
        features: name of the map (see ``agents.common.features.FEATURE_MAPS``), its class, or anything that builds one
            from the space.
        kwargs: passed on to the map.
    """

    def __init__(self, observation_space: spaces.Space, features: Any = "tile-coding", **kwargs: Any) -> None:
        feature_map = make_feature_map(features, observation_space, **kwargs)
        super().__init__(observation_space, feature_map.n_features)
        self.feature_map = feature_map

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """[n, n_features] float32 on the device of the observations."""
        dense = self.feature_map.dense(observations.detach().cpu().numpy())
        return th.as_tensor(dense, dtype=th.float32, device=observations.device)
