"""Puddle world with continuous moves: around two puddles to a corner of the unit square."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

STEP = 0.05
NOISE = 0.01
RADIUS = 0.1
PUDDLES = (((0.1, 0.75), (0.45, 0.75)), ((0.45, 0.4), (0.45, 0.8)))
"""Both ends of each puddle's center line, which runs along an axis."""
DEPTH_COST = 400.0
GOAL_SUM = 1.9


class ContinuousPuddleWorld(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """From anywhere in the unit square to its upper right corner, around puddles that cost 400 times their depth.

    Sutton (1996), "Generalization in Reinforcement Learning": a puddle is all within 0.1 of its center line, from
    (0.1, 0.75) to (0.45, 0.75) and from (0.45, 0.4) to (0.45, 0.8). Moves go 0.05 along an axis plus normal noise of
    standard deviation 0.01 in each coordinate, positions stay in the square, a step costs 1 and, where it ends in a
    puddle, 400 times the distance from there to the puddle's edge besides. Episodes start uniformly outside the goal
    and terminate where x + y >= 1.9.

    Silver et al. (2014) make the actions continuous and say no more. Our choices: the action in [-1, 1]^2 is the move
    in units of 0.05, clipped; the cost of overlapping puddles is that of the deeper one, once.

    Observation: (x, y) as float32. Action: [2].
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (the base class declares an instance attribute)

    def __init__(self) -> None:
        self.observation_space = spaces.Box(np.zeros(2, dtype=np.float32), np.ones(2, dtype=np.float32))
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._x, self._y = 0.0, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start anywhere outside the goal."""
        super().reset(seed=seed)
        while True:
            self._x, self._y = self.np_random.random(2).tolist()
            if self._x + self._y < GOAL_SUM:
                return self._observation(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move by 0.05 times the action."""
        right, up = action.tolist()
        noise_x, noise_y = self.np_random.standard_normal(2).tolist()
        self._x = min(max(self._x + STEP * min(max(right, -1.0), 1.0) + NOISE * noise_x, 0.0), 1.0)
        self._y = min(max(self._y + STEP * min(max(up, -1.0), 1.0) + NOISE * noise_y, 0.0), 1.0)
        terminated = self._x + self._y >= GOAL_SUM
        return self._observation(), -1.0 - DEPTH_COST * depth_at(self._x, self._y), terminated, False, {}

    def _observation(self) -> NDArray[np.float32]:
        return np.array((self._x, self._y), dtype=np.float32)


def depth_at(x: float, y: float) -> float:
    """Distance from (x, y) to the edge of the puddle around it, 0 outside; the larger one where puddles overlap."""
    depth = 0.0
    for (left, bottom), (right, top) in PUDDLES:
        distance = math.hypot(x - min(max(x, left), right), y - min(max(y, bottom), top))
        depth = max(depth, RADIUS - distance)
    return depth
