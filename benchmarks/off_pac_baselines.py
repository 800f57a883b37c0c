"""The value-based methods that the off-policy actor-critic paper compares itself with, on tile-coded observations.

* Q(lambda), Watkins' version: the trace is cut where the action was not greedy.
* Greedy-GQ and Softmax-GQ: gradient Q-learning (Maei and Sutton, 2010) with the greedy or the softmax policy of its own
  action values as target.

All learn online from uniform actions. Step sizes are divided by the number of active features, as Off-PAC's are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.common.features import TileCoding
from agents.common.importance import sample_index
from agents.common.softmax_policy import softmax

GAMMA = 0.99


class Learner(Protocol):
    """One of the methods."""

    def act(self, x: NDArray[np.intp], generator: np.random.Generator) -> int:
        """An action of the target policy at features x."""
        ...

    def learn(self, x: NDArray[np.intp], action: int, reward: float, discount: float, next_x: NDArray[np.intp]) -> None:
        """One update."""
        ...

    def begin_episode(self) -> None:
        """Forget the trace."""
        ...


@dataclass(frozen=True)
class Settings:
    """Step sizes before division, trace decay, temperature of Softmax-GQ's target policy."""

    alpha: float
    alpha_w: float = 0.0
    trace_decay: float = 0.0
    temperature: float = 1.0


class QLambda:
    """Watkins' Q(lambda).

    e <- gamma lambda e 1[a greedy] + x_sa;  theta += alpha [r + gamma' max Q(s', .) - Q(s, a)] e
    """

    def __init__(self, tiles: TileCoding, n_actions: int, settings: Settings) -> None:
        self.alpha = settings.alpha / tiles.n_active
        self.decay = GAMMA * settings.trace_decay
        self.theta = np.zeros((tiles.n_features, n_actions))
        self.trace = np.zeros_like(self.theta)

    def values(self, x: NDArray[np.intp]) -> list[float]:
        """Q(s, .)."""
        return np.add.reduce(self.theta.take(x, 0), axis=0).tolist()

    def act(self, x: NDArray[np.intp], generator: np.random.Generator) -> int:
        """The greedy action, ties at random."""
        return random_argmax(self.values(x), generator)

    def learn(self, x: NDArray[np.intp], action: int, reward: float, discount: float, next_x: NDArray[np.intp]) -> None:
        """One update."""
        values = self.values(x)
        delta = reward + discount * max(self.values(next_x)) - values[action]
        if not self.decay:
            self.theta[x, action] += self.alpha * delta
            return
        self.trace *= self.decay if values[action] == max(values) else 0.0
        self.trace[x, action] += 1.0
        self.theta += (self.alpha * delta) * self.trace

    def begin_episode(self) -> None:
        """Forget the trace."""
        self.trace[...] = 0.0


class GradientQ:
    """GQ(lambda) from uniform actions; the target policy is greedy or softmax in its own values.

    delta = r + gamma' theta.xbar' - theta.x_sa,  xbar' = sum_a pi(a|s') x_s'a,  e <- x_sa + gamma lambda rho e
    theta += alpha [delta e - gamma' (1 - lambda) (w.e) xbar'];  w += alpha_w [delta e - (w.x_sa) x_sa]
    """

    def __init__(self, tiles: TileCoding, n_actions: int, settings: Settings, greedy: bool) -> None:
        self.alpha, self.alpha_w = settings.alpha / tiles.n_active, settings.alpha_w / tiles.n_active
        self.trace_decay = settings.trace_decay
        self.temperature = settings.temperature
        self.greedy = greedy
        self.n_actions = n_actions
        self.theta = np.zeros((tiles.n_features, n_actions))
        self.w = np.zeros_like(self.theta)
        self.trace = np.zeros_like(self.theta)

    def target(self, values: list[float]) -> list[float]:
        """pi(.|s); the greedy policy shares ties evenly."""
        if self.greedy:
            best = max(values)
            ties = [float(value == best) for value in values]
            return [tie / sum(ties) for tie in ties]
        return softmax([value / self.temperature for value in values])

    def values(self, x: NDArray[np.intp]) -> list[float]:
        """Q(s, .)."""
        return np.add.reduce(self.theta.take(x, 0), axis=0).tolist()

    def act(self, x: NDArray[np.intp], generator: np.random.Generator) -> int:
        """An action of the target policy."""
        return sample_index(self.target(self.values(x)), generator.random())

    def learn(self, x: NDArray[np.intp], action: int, reward: float, discount: float, next_x: NDArray[np.intp]) -> None:
        """One update."""
        values, next_values = self.values(x), self.values(next_x)
        next_pi = self.target(next_values)
        following = sum(p * q for p, q in zip(next_pi, next_values, strict=True))
        delta = reward + discount * following - values[action]
        expected = float(np.add.reduce(self.w[x, action]))
        if self.trace_decay:
            rho = self.target(values)[action] * self.n_actions
            self.trace *= GAMMA * self.trace_decay * rho
            self.trace[x, action] += 1.0
            correlation = float(np.vdot(self.w, self.trace))
            self.theta += (self.alpha * delta) * self.trace
            self.w += (self.alpha_w * delta) * self.trace
        else:
            correlation = expected
            self.theta[x, action] += self.alpha * delta
            self.w[x, action] += self.alpha_w * delta
        self.w[x, action] -= self.alpha_w * expected
        if discount and correlation:
            scale = self.alpha * discount * (1.0 - self.trace_decay) * correlation
            self.theta[next_x] -= [scale * p for p in next_pi]

    def begin_episode(self) -> None:
        """Forget the trace."""
        self.trace[...] = 0.0


def random_argmax(values: list[float], generator: np.random.Generator) -> int:
    """Index of the largest value, ties at random."""
    best = max(values)
    ties = [index for index, value in enumerate(values) if value == best]
    return ties[int(generator.random() * len(ties))]


def make_learner(method: str, tiles: TileCoding, n_actions: int, settings: Settings) -> Learner:
    """A learner by name: "q-lambda", "greedy-gq" or "softmax-gq"."""
    if method == "q-lambda":
        return QLambda(tiles, n_actions, settings)
    return GradientQ(tiles, n_actions, settings, greedy=method == "greedy-gq")


def train(method: str, env_id: str, seed: int, episodes: int, settings: Settings) -> tuple[Learner, TileCoding]:
    """Learn from a number of uniform behavior episodes."""
    env = gym.make(env_id)
    generator = np.random.default_rng(seed)
    tiles = TileCoding(env.observation_space)
    n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
    learner = make_learner(method, tiles, n_actions, settings)
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed if episode == 0 else None)
        x, done = tiles(observation), False
        learner.begin_episode()
        while not done:
            action = int(generator.random() * n_actions)
            observation, reward, terminated, truncated, _ = env.step(action)
            next_x = tiles(observation)
            learner.learn(x, action, float(reward), 0.0 if terminated else GAMMA, next_x)
            x, done = next_x, terminated or truncated
    return learner, tiles
