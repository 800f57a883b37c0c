"""A small random process with Box actions whose range is not symmetric, and endings of both kinds."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

N_STATES = 6
LOW, HIGH = np.array([-1.0, 0.0]), np.array([3.0, 0.5])


class BoxProcess(gym.Env):
    """Six states; the next one depends on the first action, the reward on both; state 5 terminates.

    Args:
        observe: "index" for Discrete observations, "vector" for a Box of three fixed random features, "square" for a
            Box point in the unit square.
        cap: steps until truncation.
        dtype: of the actions.
    """

    def __init__(self, observe: str = "index", cap: int = 7, dtype: Any = np.float32) -> None:
        random = np.random.default_rng(7)
        self.transitions = random.dirichlet(np.ones(N_STATES), size=(N_STATES, 2))
        self.goals = random.uniform(LOW, HIGH, size=(N_STATES, 2))
        self.points = random.random((N_STATES, 2 if observe == "square" else 3))
        self.observe = observe
        self.cap = cap
        if observe == "index":
            self.observation_space: spaces.Space = spaces.Discrete(N_STATES)
        else:
            self.observation_space = spaces.Box(0.0, 1.0, self.points.shape[1:], dtype=np.float64)
        self.action_space = spaces.Box(LOW.astype(dtype), HIGH.astype(dtype), dtype=dtype)
        self.received: list[np.ndarray] = []
        self.state = 0
        self.clock = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(N_STATES - 1))
        self.clock = 0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.received.append(np.array(action))
        reward = -float(np.square((action - self.goals[self.state]) / (HIGH - LOW)).sum())
        kind = int(action[0] > 1.0)
        self.state = int(self.np_random.choice(N_STATES, p=self.transitions[self.state, kind]))
        self.clock += 1
        terminated = self.state == N_STATES - 1
        return self._observation(), reward, terminated, not terminated and self.clock >= self.cap, {}

    def _observation(self) -> Any:
        return self.state if self.observe == "index" else self.points[self.state].copy()


def scaled(action: Any) -> np.ndarray:
    """From environment units to [-1, 1]."""
    return 2.0 * (np.asarray(action, dtype=np.float64) - LOW) / (HIGH - LOW) - 1.0
