"""The convolutional network of the A3C paper as an SB3 features extractor."""

from __future__ import annotations

import gymnasium as gym
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class PaperCNN(BaseFeaturesExtractor):
    """16 filters of 8 x 8 by 4, 32 of 4 x 4 by 2, then 256 units, all with ReLU (Mnih et al. 2016, section 5.1).

    A quarter of the work of SB3's default network for images (``NatureCNN``)::

        A3C("CnnPolicy", env, policy_kwargs=dict(features_extractor_class=PaperCNN))

    Args:
        observation_space: images, channels first (SB3 transposes by itself), uint8.
        features_dim: units of the last layer.
        normalized_image: images are floats in [0, 1] already.

    Raises:
        ValueError: not an image space.
    """

    def __init__(
        self, observation_space: gym.Space[th.Tensor], features_dim: int = 256, normalized_image: bool = False
    ) -> None:
        if not isinstance(observation_space, spaces.Box) or not is_image_space(
            observation_space, check_channels=False, normalized_image=normalized_image
        ):
            raise ValueError(
                f"PaperCNN takes images (uint8 in [0, 255], channels first), but the observation space is "
                f"{observation_space}. Use MlpPolicy for other observations, or normalized_image=True for float images."
            )
        super().__init__(observation_space, features_dim)
        self.cnn: nn.Module = nn.Sequential(
            nn.Conv2d(observation_space.shape[0], 16, kernel_size=8, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        with th.no_grad():
            width = self.cnn(th.zeros(1, *observation_space.shape)).shape[1]
        self.linear: nn.Module = nn.Sequential(nn.Linear(width, features_dim), nn.ReLU())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Features (n, features_dim) of images (n, channels, height, width)."""
        features: th.Tensor = self.linear(self.cnn(observations))
        return features
