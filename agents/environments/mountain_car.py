"""Mountain car as in the off-policy actor-critic paper: the goal lies at 0.6, Gymnasium's at 0.5."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

MIN_POSITION, MAX_POSITION = -1.2, 0.6
MAX_SPEED = 0.07


class DegrisMountainCar(gym.Env[NDArray[np.float32], np.int64]):
    """An underpowered car in a valley; -1 a step until it stands at the goal on the right.

    ``v += 0.001 a - 0.0025 cos(3 p)``, |v| <= 0.07, ``p += v``; actions 0, 1, 2 are a = -1, 0, 1. The wall on the left
    stops the car. Every episode starts at rest at -0.5.

    Observation: (p, v) as float32.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (the base class declares an instance attribute)

    def __init__(self) -> None:
        low = np.array([MIN_POSITION, -MAX_SPEED], dtype=np.float32)
        high = np.array([MAX_POSITION, MAX_SPEED], dtype=np.float32)
        self.observation_space = spaces.Box(low, high)
        self.action_space = spaces.Discrete(3)
        self._position = -0.5
        self._velocity = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Put the car at rest at -0.5."""
        super().reset(seed=seed)
        self._position = -0.5
        self._velocity = 0.0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Accelerate by action - 1 for one step."""
        velocity = self._velocity + 0.001 * (int(action) - 1) - 0.0025 * math.cos(3.0 * self._position)
        velocity = min(max(velocity, -MAX_SPEED), MAX_SPEED)
        position = self._position + velocity
        if position < MIN_POSITION:
            position, velocity = MIN_POSITION, 0.0
        terminated = position >= MAX_POSITION
        self._position = min(position, MAX_POSITION)
        self._velocity = velocity
        return self._observation(), -1.0, terminated, False, {}

    def _observation(self) -> NDArray[np.float32]:
        return np.array((self._position, self._velocity), dtype=np.float32)
