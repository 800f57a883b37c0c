"""Mountain car as in the off-policy actor-critic paper: the goal lies at 0.6, Gymnasium's at 0.5.

With three actions (Degris, White and Sutton, 2012) and with a continuous one (Silver et al., 2014).
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

MIN_POSITION, MAX_POSITION = -1.2, 0.6
MAX_SPEED = 0.07


class MountainCar(gym.Env[NDArray[np.float32], Any]):
    """The car itself; subclasses say which accelerations there are.

    ``v += 0.001 a - 0.0025 cos(3 p)``, |v| <= 0.07, ``p += v``. The wall on the left stops the car. Every episode
    starts at rest at -0.5 and terminates at 0.6; -1 a step.

    Args:
        action_space: of the subclass.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (the base class declares an instance attribute)

    def __init__(self, action_space: spaces.Space) -> None:
        low = np.array([MIN_POSITION, -MAX_SPEED], dtype=np.float32)
        high = np.array([MAX_POSITION, MAX_SPEED], dtype=np.float32)
        self.observation_space = spaces.Box(low, high)
        self.action_space = action_space
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

    def accelerate(self, acceleration: float) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step with a in [-1, 1]."""
        velocity = self._velocity + 0.001 * acceleration - 0.0025 * math.cos(3.0 * self._position)
        if velocity > MAX_SPEED:
            velocity = MAX_SPEED
        elif velocity < -MAX_SPEED:
            velocity = -MAX_SPEED
        position = self._position + velocity
        if position < MIN_POSITION:
            position, velocity = MIN_POSITION, 0.0
        terminated = position >= MAX_POSITION
        self._position = min(position, MAX_POSITION)
        self._velocity = velocity
        return self._observation(), -1.0, terminated, False, {}

    def _observation(self) -> NDArray[np.float32]:
        return np.array((self._position, self._velocity), dtype=np.float32)


class DegrisMountainCar(MountainCar):
    """An underpowered car in a valley with three actions; the dynamics are those of ``MountainCar``.

    Actions 0, 1, 2 are a = -1, 0, 1. Observation: (p, v) as float32.
    """

    def __init__(self) -> None:
        super().__init__(spaces.Discrete(3))

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Accelerate by action - 1 for one step."""
        return self.accelerate(int(action) - 1)


class ContinuousMountainCar(MountainCar):
    """The same car with any acceleration a in [-1, 1]; what lies outside is clipped.

    Silver et al. (2014) name "continuous-action variants of standard benchmarks" and no equations. Our choice: the
    off-policy actor-critic paper's dynamics with its three actions filled up to an interval; Gymnasium's
    MountainCarContinuous has another goal, power and reward.

    Observation: (p, v) as float32. Action: [1].
    """

    def __init__(self) -> None:
        super().__init__(spaces.Box(-1.0, 1.0, (1,), np.float32))

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Accelerate by the action for one step."""
        return self.accelerate(min(max(float(action[0]), -1.0), 1.0))
