"""The continuous grid world of the off-policy actor-critic paper: a narrow passage between costly hills."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

STEP = 0.05
NOISE = 0.0025
START = (0.2, 0.4)
MOVES = ((STEP, 0.0), (-STEP, 0.0), (0.0, STEP), (0.0, -STEP), (0.0, 0.0))
HILLS = (((0.3, 0.1), (0.6, 0.03)), ((0.4, 0.03), (0.5, 0.1)), ((0.8, 0.03), (0.9, 0.1)))
"""Mean and standard deviation along x and along y of the three products of normal densities."""


def normal_density(value: float, mean: float, deviation: float) -> float:
    """N(value; mean, deviation^2)."""
    standardized = (value - mean) / deviation
    return math.exp(-0.5 * standardized * standardized) / (deviation * math.sqrt(2.0 * math.pi))


class ContinuousGridWorld(gym.Env[NDArray[np.float32], np.int64]):
    """From (0.2, 0.4) to the upper right corner of the unit square in steps of 0.05.

    Actions: right, left, up, down, stay; each coordinate also moves by uniform noise in +-0.0025 and stays in [0, 1].
    The reward of arriving at (x, y) is -1 minus twice the sum of three products of normal densities (``HILLS``). The
    episode terminates where |1 - x| + |1 - y| < 0.1.

    Observation: (x, y) as float32.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (the base class declares an instance attribute)

    def __init__(self) -> None:
        self.observation_space = spaces.Box(np.zeros(2, dtype=np.float32), np.ones(2, dtype=np.float32))
        self.action_space = spaces.Discrete(len(MOVES))
        self._x, self._y = START

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Go back to the start."""
        super().reset(seed=seed)
        self._x, self._y = START
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move in one of the four directions, or stay."""
        right, up = MOVES[int(action)]
        draw = self.np_random.random
        self._x = min(max(self._x + right + NOISE * (2.0 * draw() - 1.0), 0.0), 1.0)
        self._y = min(max(self._y + up + NOISE * (2.0 * draw() - 1.0), 0.0), 1.0)
        terminated = abs(1.0 - self._x) + abs(1.0 - self._y) < 0.1
        return self._observation(), reward_at(self._x, self._y), terminated, False, {}

    def _observation(self) -> NDArray[np.float32]:
        return np.array((self._x, self._y), dtype=np.float32)


def reward_at(x: float, y: float) -> float:
    """-1 - 2 times the height of the hills at (x, y)."""
    height = sum(
        normal_density(x, mean_x, deviation_x) * normal_density(y, mean_y, deviation_y)
        for (mean_x, deviation_x), (mean_y, deviation_y) in HILLS
    )
    return -1.0 - 2.0 * height
