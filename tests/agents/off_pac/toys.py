"""Small environments: a random process with endings of both kinds, the paper's random walk, a Box to reach into."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

N_STATES, N_ACTIONS = 6, 3


class SmallProcess(gym.Env):
    """Six states, three actions, random transitions; terminates in state 5, is truncated after ``cap`` steps.

    Args:
        observe: "index" for Discrete observations, "vector" for a Box of three fixed random features, "square" for a
            Box point in the unit square.
        cap: steps until truncation.
    """

    def __init__(self, observe: str = "index", cap: int = 7) -> None:
        random = np.random.default_rng(7)
        self.transitions = random.dirichlet(np.ones(N_STATES), size=(N_STATES, N_ACTIONS))
        self.rewards = random.normal(size=(N_STATES, N_ACTIONS))
        self.points = random.random((N_STATES, 2 if observe == "square" else 3))
        self.observe = observe
        self.cap = cap
        if observe == "index":
            self.observation_space: spaces.Space = spaces.Discrete(N_STATES)
        else:
            self.observation_space = spaces.Box(0.0, 1.0, self.points.shape[1:], dtype=np.float64)
        self.action_space = spaces.Discrete(N_ACTIONS)
        self.state = 0
        self.clock = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(N_STATES - 1))
        self.clock = 0
        return self._observation(), {}

    def step(self, action):
        reward = float(self.rewards[self.state, action])
        self.state = int(self.np_random.choice(N_STATES, p=self.transitions[self.state, action]))
        self.clock += 1
        terminated = self.state == N_STATES - 1
        return self._observation(), reward, terminated, not terminated and self.clock >= self.cap, {}

    def _observation(self):
        return self.state if self.observe == "index" else self.points[self.state].copy()


class RandomWalk(gym.Env):
    """States A to E from C; action 0 goes left, 1 right; leaving at the right gives 1."""

    observation_space = spaces.Discrete(5)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.state = 2
        return self.state, {}

    def step(self, action):
        self.state += 1 if action == 1 else -1
        terminated = self.state in (-1, 5)
        reward = float(self.state == 5)
        return min(max(self.state, 0), 4), reward, terminated, False, {}


class Reach(gym.Env):
    """One step: a Box action in [-2, 6] is rewarded by how close it comes to 4; ``span`` repeats it in every entry."""

    def __init__(self, dimension: int = 1) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (1,), dtype=np.float32)
        self.action_space = spaces.Box(-2.0, 6.0, (dimension,), dtype=np.float32)
        self.received: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        return np.ones(1, dtype=np.float32), {}

    def step(self, action):
        self.received.append(np.array(action))
        reward = -float(np.square(action - 4.0).mean())
        return np.ones(1, dtype=np.float32), reward, True, False, {}
