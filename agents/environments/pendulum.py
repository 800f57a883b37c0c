"""The pendulum of the off-policy actor-critic paper: a continuing task.

With three torques (Degris, White and Sutton, 2012) and with a continuous one (Silver et al., 2014).
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

MAX_SPEED = 78.54
TIME_STEP = 0.01
MAX_TORQUE = 2.0
TORQUES = (-MAX_TORQUE, 0.0, MAX_TORQUE)


class Pendulum(gym.Env[NDArray[np.float32], Any]):
    """The pole itself; subclasses say which torques there are.

    ``v += -0.01 v + 9.8 sin(theta) + u``, |v| <= 78.54, then ``theta += 0.01 v``, wrapped to [-pi, pi). theta = 0 is
    upright and the reward is cos(theta). Starts at rest at a uniform angle and never terminates.

    Args:
        action_space: of the subclass.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (the base class declares an instance attribute)

    def __init__(self, action_space: spaces.Space) -> None:
        bound = np.array([math.pi, MAX_SPEED], dtype=np.float32)
        self.observation_space = spaces.Box(-bound, bound)
        self.action_space = action_space
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

    def turn(self, torque: float) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step with u in [-2, 2]."""
        velocity = self._velocity - 0.01 * self._velocity + 9.8 * math.sin(self._angle) + torque
        if velocity > MAX_SPEED:
            velocity = MAX_SPEED
        elif velocity < -MAX_SPEED:
            velocity = -MAX_SPEED
        self._angle = (self._angle + TIME_STEP * velocity + math.pi) % (2.0 * math.pi) - math.pi
        self._velocity = velocity
        return self._observation(), math.cos(self._angle), False, False, {}

    def _observation(self) -> NDArray[np.float32]:
        return np.array((self._angle, self._velocity), dtype=np.float32)


class DegrisPendulum(Pendulum):
    """Swing a pole up and balance it with three torques too weak to lift it at once; see ``Pendulum``.

    Actions 0, 1, 2 are u = -2, 0, 2. Observation: (theta, v) as float32.
    """

    def __init__(self) -> None:
        super().__init__(spaces.Discrete(len(TORQUES)))

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Apply one of the three torques for one step."""
        return self.turn(TORQUES[int(action)])


class ContinuousPendulum(Pendulum):
    """The same pole with any torque u in [-2, 2]; what lies outside is clipped.

    Silver et al. (2014) give no equations; the off-policy actor-critic paper's dynamics are our choice.

    Observation: (theta, v) as float32. Action: [1].
    """

    def __init__(self) -> None:
        super().__init__(spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,), np.float32))

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Apply the torque for one step."""
        return self.turn(min(max(float(action[0]), -MAX_TORQUE), MAX_TORQUE))
