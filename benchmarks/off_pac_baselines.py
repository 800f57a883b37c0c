"""The value-based methods that the off-policy actor-critic paper compares itself with, on tile-coded observations.

* Q(lambda), Watkins' version: the trace is cut where the action was not greedy.
* Greedy-GQ and Softmax-GQ: gradient Q-learning (Maei and Sutton, 2010) with the greedy or the softmax policy of its own
  action values as target.

All learn online from uniform actions. Step sizes are divided by the number of active features, as Off-PAC's are.

A learner holds many runs, which share nothing but the clock: one NumPy operation serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.common.features import TileCoding

GAMMA = 0.99
FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]


@dataclass(frozen=True)
class Settings:
    """Step sizes before division, trace decay, temperature of Softmax-GQ's target policy."""

    alpha: float
    alpha_w: float = 0.0
    trace_decay: float = 0.0
    temperature: float = 1.0


class Learner:
    """Action values theta.x_sa of many runs, learned from uniform actions.

    Args:
        tiles: the features.
        n_actions: number of actions.
        n_runs: number of runs.
        settings: step sizes and so on.
    """

    def __init__(self, tiles: TileCoding, n_actions: int, n_runs: int, settings: Settings) -> None:
        self.settings = settings
        self.alpha, self.alpha_w = settings.alpha / tiles.n_active, settings.alpha_w / tiles.n_active
        self.n_actions = n_actions
        self.theta = np.zeros((n_runs, tiles.n_features, n_actions))
        self.trace = np.zeros_like(self.theta)
        self._runs = np.arange(n_runs)

    def target(self, values: FloatArray) -> FloatArray:
        """[n, n_actions] target policy at states of these values; the greedy policy shares ties evenly."""
        best = values == values.max(axis=1, keepdims=True)
        return best / best.sum(axis=1, keepdims=True)

    def values(self, x: IndexArray) -> FloatArray:
        """[n_runs, n_actions] Q(s, .) at each run's features x, [n_runs, n_active]."""
        return np.add.reduce(self.theta[self._runs[:, None], x], axis=1)

    def act(self, run: int, x: IndexArray, generator: np.random.Generator) -> int:
        """An action of one run's target policy at features x, [n_active]."""
        values = np.add.reduce(self.theta[run].take(x, 0), axis=0)
        return int(np.searchsorted(np.cumsum(self.target(values[None])[0]), generator.random(), side="right"))

    def learn(
        self, x: IndexArray, actions: IndexArray, rewards: FloatArray, discounts: FloatArray, next_x: IndexArray
    ) -> None:
        """One update of every run, from [n_runs, n_active] features and [n_runs] of the rest."""
        raise NotImplementedError

    def begin_episode(self, run: int) -> None:
        """Forget a run's trace."""
        self.trace[run] = 0.0

    def _taken(self, x: IndexArray, actions: IndexArray) -> tuple[IndexArray, IndexArray, IndexArray]:
        """Where x_sa is 1, as an index of theta."""
        return self._runs[:, None], x, actions[:, None]


class QLambda(Learner):
    """Watkins' Q(lambda).

    e <- gamma lambda e 1[a greedy] + x_sa;  theta += alpha [r + gamma' max Q(s', .) - Q(s, a)] e
    """

    def learn(
        self, x: IndexArray, actions: IndexArray, rewards: FloatArray, discounts: FloatArray, next_x: IndexArray
    ) -> None:
        """One update."""
        values = self.values(x)
        chosen = values[self._runs, actions]
        steps = self.alpha * (rewards + discounts * self.values(next_x).max(axis=1) - chosen)
        taken = self._taken(x, actions)
        if not self.settings.trace_decay:
            self.theta[taken] += steps[:, None]
            return
        self.trace *= (GAMMA * self.settings.trace_decay * (chosen == values.max(axis=1)))[:, None, None]
        self.trace[taken] += 1.0
        self.theta += steps[:, None, None] * self.trace


class GreedyGQ(Learner):
    """GQ(lambda) from uniform actions; the target policy is greedy in its own values.

    delta = r + gamma' theta.xbar' - theta.x_sa,  xbar' = sum_a pi(a|s') x_s'a,  e <- x_sa + gamma lambda rho e
    theta += alpha [delta e - gamma' (1 - lambda) (w.e) xbar'];  w += alpha_w [delta e - (w.x_sa) x_sa]
    """

    def __init__(self, tiles: TileCoding, n_actions: int, n_runs: int, settings: Settings) -> None:
        super().__init__(tiles, n_actions, n_runs, settings)
        self.w = np.zeros_like(self.theta)

    def learn(
        self, x: IndexArray, actions: IndexArray, rewards: FloatArray, discounts: FloatArray, next_x: IndexArray
    ) -> None:
        """One update."""
        trace_decay = self.settings.trace_decay
        values, next_values = self.values(x), self.values(next_x)
        next_pi = self.target(next_values)
        delta = rewards + discounts * (next_pi * next_values).sum(axis=1) - values[self._runs, actions]
        taken = self._taken(x, actions)
        expected = self.w[taken].sum(axis=1)
        if trace_decay:
            rho = self.target(values)[self._runs, actions] * self.n_actions
            self.trace *= (GAMMA * trace_decay * rho)[:, None, None]
            self.trace[taken] += 1.0
            correlation = np.einsum("rfa,rfa->r", self.w, self.trace)
            increment = delta[:, None, None] * self.trace
            self.theta += self.alpha * increment
            self.w += self.alpha_w * increment
        else:
            correlation = expected
            self.theta[taken] += (self.alpha * delta)[:, None]
            self.w[taken] += (self.alpha_w * delta)[:, None]
        self.w[taken] -= (self.alpha_w * expected)[:, None]
        scale = self.alpha * discounts * (1.0 - trace_decay) * correlation
        self.theta[self._runs[:, None], next_x] -= (scale[:, None] * next_pi)[:, None]


class SoftmaxGQ(GreedyGQ):
    """The same with the softmax policy of its own values, divided by a temperature, as target."""

    def target(self, values: FloatArray) -> FloatArray:
        """[n, n_actions] target policy at states of these values."""
        weights = np.exp((values - values.max(axis=1, keepdims=True)) / self.settings.temperature)
        return weights / weights.sum(axis=1, keepdims=True)


METHODS: dict[str, type[Learner]] = {"q-lambda": QLambda, "greedy-gq": GreedyGQ, "softmax-gq": SoftmaxGQ}


class Episodes:
    """One run's environment and uniform actions.

    Args:
        env_id: environment.
        seed: of the run.

    Attributes:
        observation: what the next action follows.
        n_episodes: episodes that have ended.
    """

    def __init__(self, env_id: str, seed: int) -> None:
        env = gym.make(env_id)
        assert env.spec is not None
        self.observation_space = env.observation_space
        # Its wrappers cost more than the step itself; the step limit is kept here instead.
        self._step, self._reset = env.unwrapped.step, env.unwrapped.reset
        self._limit = env.spec.max_episode_steps or 0
        self._generator = np.random.default_rng(seed)
        self.n_actions = int(env.action_space.n)  # type: ignore[attr-defined]
        self.n_episodes = 0
        self._n_steps = 0
        self.observation = self._reset(seed=seed)[0]

    def step(self) -> tuple[int, float, float, NDArray[np.float32], bool]:
        """Action, reward, discount, the observation that followed, and whether the episode ended with it."""
        action = int(self._generator.random() * self.n_actions)
        following, reward, terminated, _, _ = self._step(action)
        self._n_steps += 1
        done = terminated or self._n_steps == self._limit
        if done:
            self.n_episodes += 1
            self._n_steps = 0
            self.observation = self._reset()[0]
        else:
            self.observation = following
        return action, float(reward), 0.0 if terminated else GAMMA, following, done


def train(
    method: str, env_id: str, seeds: Sequence[int], n_episodes: int, settings: Settings
) -> tuple[Learner, TileCoding]:
    """Learn from a number of uniform behavior episodes; one run for each seed.

    Runs have episodes of different lengths. One that has had all of its own goes on until the last one has, and then
    gets the weights back that it had at its end.
    """
    runs = [Episodes(env_id, seed) for seed in seeds]
    tiles = TileCoding(runs[0].observation_space)
    learner = METHODS[method](tiles, runs[0].n_actions, len(runs), settings)
    finished: dict[int, FloatArray] = {}
    x = tiles.batch([run.observation for run in runs])
    while len(finished) < len(runs):
        actions, rewards, discounts, following, ended = zip(*(run.step() for run in runs), strict=True)
        learner.learn(x, np.array(actions), np.array(rewards), np.array(discounts), tiles.batch(following))
        for index in np.flatnonzero(ended):
            learner.begin_episode(index)
            if runs[index].n_episodes == n_episodes:
                finished[index] = learner.theta[index].copy()
        x = tiles.batch([run.observation for run in runs])
    for index, theta in finished.items():
        learner.theta[index] = theta
    return learner, tiles
