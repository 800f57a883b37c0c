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
        self._segment = segment
        self._pixels = th.from_numpy(segment.observations)
        n_rows, n_envs, channels, height, width = self._pixels.shape
        # channels last in memory
        self._images = th.zeros(n_rows * n_envs, height, width, channels).permute(0, 3, 1, 2)
        self._features = ImageFeatures(network, scale)
        self._results: list[list[th.Tensor]] = [[] for _ in range(n_rows)]
        self.width = network.linear.out_features
        self.rows: Array = np.zeros((n_rows * n_envs, self.width), dtype=np.float32)
        self._outputs = th.from_numpy(self.rows)
        self._step_views = list(self.rows) if n_envs == 1 else list(self.rows.reshape(n_rows, n_envs, self.width))

    def begin(self) -> None:
        """The parameters have changed."""
        self._features.begin()

    def encode(self, row: int) -> Array:
        """The features of one row: (n_envs, width), or (width,) for one environment."""
        n_envs = self._segment.n_envs
        where = slice(row * n_envs, (row + 1) * n_envs)
        images = self._images[where].copy_(self._pixels[row])
        self._results[row] = self._features.forward(images, self._outputs[where])
        return self._step_views[row]

    def encode_others(self, observations: Any) -> Array:
        """Features (n, width) of images that are not in the segment."""
        images = th.as_tensor(np.asarray(observations)).float().contiguous(memory_format=th.channels_last)
        found = th.zeros(len(images), self.width)
        self._features.forward(images, found)
        return found.numpy()

    def backward(self, gradient: Array) -> None:
        """Write the network's gradients.

        Args:
            gradient: (length * n_envs, width), of the loss by the segment's features.
        """
        n = len(gradient)
        results = [th.cat(parts) for parts in zip(*self._results[: self._segment.length], strict=True)]
        self._features.backward(self._images[:n], results, self._outputs[:n], th.from_numpy(gradient))
