"""The pendulum of the off-policy actor-critic paper: a continuing task with three torques."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

MAX_SPEED = 78.54
TIME_STEP = 0.01
TORQUES = (-2.0, 0.0, 2.0)


class DegrisPendulum(gym.Env[NDArray[np.float32], np.int64]):
    """Swing a pole up and balance it with torques too weak to lift it at once; the reward is cos(theta).

    ``v += -0.01 v + 9.8 sin(theta) + u``, |v| <= 78.54, then ``theta += 0.01 v``, wrapped to [-pi, pi). theta = 0 is
    upright, actions 0, 1, 2 are u = -2, 0, 2. Starts at rest at a uniform angle and never terminates.

    Observation: (theta, v) as float32.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (the base class declares an instance attribute)

    def __init__(self) -> None:
        bound = np.array([math.pi, MAX_SPEED], dtype=np.float32)
        self.observation_space = spaces.Box(-bound, bound)
        self.action_space = spaces.Discrete(len(TORQUES))
        self._angle = 0.0
        self._velocity = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Let the pole rest at a uniform angle."""
        super().reset(seed=seed)
        self._angle = float(self.np_random.uniform(-math.pi, math.pi))
        self._velocity = 0.0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Apply one of the three torques for one step."""
        velocity = self._velocity - 0.01 * self._velocity + 9.8 * math.sin(self._angle) + TORQUES[int(action)]
        velocity = min(max(velocity, -MAX_SPEED), MAX_SPEED)
        self._angle = (self._angle + TIME_STEP * velocity + math.pi) % (2.0 * math.pi) - math.pi
        self._velocity = velocity
        return self._observation(), math.cos(self._angle), False, False, {}

    def _observation(self) -> NDArray[np.float32]:
        return np.array((self._angle, self._velocity), dtype=np.float32)
