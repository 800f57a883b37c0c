"""A segment's images as rows of convolutional features, for learners that compute in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from agents.asynchronous.segment import Segment
from agents.common.convolutions import ImageFeatures, ImageNetwork

Array = NDArray[np.float32]


class FeatureRows:
    """What a convolutional network makes of a segment's images, row by row as they come.

    Args:
        network: the network.
        scale: what pixels are multiplied by.
        segment: whose observations, (n_steps + 1, n_envs, channels, height, width).

    Attributes:
        width: features a row.
        rows: ((n_steps + 1) * n_envs, width).
    """

    def __init__(self, network: ImageNetwork, scale: float, segment: Segment) -> None:
        assert isinstance(segment.observations, np.ndarray)
        n_rows, n_envs = segment.observations.shape[:2]
        self.width = network.linear.out_features
        self.rows: Array = np.zeros((n_rows * n_envs, self.width), dtype=np.float32)
        self._features = ImageFeatures(network, scale, segment.observations, self.rows)
        self._step_views = list(self.rows) if n_envs == 1 else list(self.rows.reshape(n_rows, n_envs, self.width))

    def begin(self) -> None:
        """The parameters have changed."""
        self._features.begin()

    def encode(self, row: int) -> Array:
        """The features of one row: (n_envs, width), or (width,) for one environment."""
        self._features.forward(row)
        return self._step_views[row]

    def encode_others(self, observations: Any) -> Array:
        """Features (n, width) of images that are not in the segment."""
        return self._features.evaluate(th.as_tensor(np.asarray(observations))).numpy()

    def backward(self, gradient: Array) -> None:
        """Write the network's gradients.

        Args:
            gradient: (length * n_envs, width), of the loss by the segment's features; overwritten.
        """
        self._features.backward(th.from_numpy(gradient))
