"""The observation itself as the feature vector."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from agents.common.features.base import FeatureMap


class Identity(FeatureMap):
    """x(s) = s, flattened and as float64; nothing is added or scaled.

    Args:
        observation_space: a Box or MultiBinary space.

    Raises:
        ValueError: another kind of space.
    """

    def __init__(self, observation_space: spaces.Space) -> None:
        if not isinstance(observation_space, spaces.Box | spaces.MultiBinary):
            raise ValueError(
                f"Identity features got the observation space {observation_space}, but they need Box or MultiBinary; "
                "use one-hot features for Discrete and MultiDiscrete, MultiInputPolicy for Dict."
            )
        self.n_features = int(np.prod(observation_space.shape))

    def __call__(self, observation: ArrayLike) -> NDArray[np.float64]:
        """[n_features] entries of the observation."""
        return np.array(observation, dtype=np.float64).ravel()
