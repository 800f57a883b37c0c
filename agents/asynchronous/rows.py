"""A segment's observations as rows of float32, for learners that compute in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space

from agents.asynchronous.segment import Segment

Array = NDArray[np.float32]


class ObservationRows:
    """What SB3's preprocessing and flattening make of observations, row by row as they come.

    Args:
        space: Box (flattened) or Discrete (one-hot).
        segment: whose observations; where they are float32 already, the rows are its own memory.

    Attributes:
        width: numbers a row.
        groups: (n_steps + 1, n_envs, width).
        rows: the same as ((n_steps + 1) * n_envs, width).
    """

    def __init__(self, space: spaces.Space[Any], segment: Segment) -> None:
        assert isinstance(segment.observations, np.ndarray)
        self._observations = segment.observations
        n_rows = segment.n_steps + 1
        self._one_hot = isinstance(space, spaces.Discrete)
        self.width = int(space.n) if isinstance(space, spaces.Discrete) else math.prod(space.shape or ())
        self._is_view = not self._one_hot and segment.observations.dtype == np.float32
        shape = (n_rows, segment.n_envs, self.width)
        self.groups: Array = segment.observations.reshape(shape) if self._is_view else np.zeros(shape, dtype=np.float32)
        self.rows = self.groups.reshape(n_rows * segment.n_envs, self.width)
        # what a perceptron takes a step: a vector for one environment, else a matrix
        self._step_views = list(self.rows) if segment.n_envs == 1 else list(self.groups)

    @staticmethod
    def serve(space: spaces.Space[Any], normalize_images: bool) -> bool:
        """Whether observations of the space are taken."""
        if isinstance(space, spaces.Box):
            return not (normalize_images and is_image_space(space))
        return isinstance(space, spaces.Discrete)

    def begin(self) -> None:
        """Nothing depends on parameters."""

    def encode(self, row: int) -> Array:
        """The observations of one row: (n_envs, width), or (width,) for one environment."""
        if not self._is_view:
            self._write(self.groups[row], self._observations[row])
        return self._step_views[row]

    def encode_others(self, observations: Any) -> Array:
        """Observations (n, *space) that are not in the segment, as (n, width)."""
        observations = np.asarray(observations)
        found = np.zeros((len(observations), self.width), dtype=np.float32)
        self._write(found, observations)
        return found

    def _write(self, rows: Array, observations: NDArray[Any]) -> None:
        if self._one_hot:
            rows[:] = 0.0
            rows[np.arange(len(rows)), observations.reshape(-1)] = 1.0
        else:
            rows[:] = observations.reshape(rows.shape)
