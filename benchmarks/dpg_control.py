"""One run of the control experiment of the deterministic policy gradient paper: a task, a method, a seed, a curve.

Silver et al. (2014), section 5.2. All methods see the same tile coding, learn a linear mean and a linear value
function, and begin with the same exploration: normal around mean 0 with variance 1 where actions reach from -1 to 1,
half the range. COPDAC-Q and Off-PAC keep that as their behavior policy, around the mean they have learned so far; the
stochastic actor-critic acts with its target policy, whose standard deviation is learned, as Off-PAC's is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.noise import NormalActionNoise

import agents.environments  # noqa: F401  (registers the environments)
from agents.common.gaussian_policy import LOG_STD_CENTER, LOG_STD_REACH, log_std
from agents.dpg import DPG
from agents.dpg.linear_policy import LinearPolicy as DeterministicPolicy
from agents.off_pac import OffPAC
from agents.off_pac.linear_policy import LinearPolicy as StochasticPolicy
from agents.online.errors import TrainingDivergedError

METHODS = ("copdac-q", "off-pac", "sac", "sac-one-step")
"""COPDAC-Q has no eligibility traces. The stochastic methods may have them; "sac-one-step" goes without as well."""
BEHAVIOR_STD = 1.0
"""In units of half the action range: a variance of half the range [-1, 1]."""
FIRST_EVALUATION_SEED = 1_000_000

FloatArray = NDArray[np.float64]
Act = Callable[[NDArray[np.float32]], FloatArray]


@dataclass(frozen=True)
class Task:
    """An environment with its discount, and how its learning curve is measured."""

    env_id: str
    gamma: float
    n_steps: int  # of training
    n_checkpoints: int  # evaluations, evenly spaced, the last one at the end
    n_episodes: int  # at each evaluation
    max_episode_steps: int = 5000  # of evaluation episodes, the paper's cap; training episodes have none


@dataclass(frozen=True)
class Settings:
    """Step sizes, before they are divided by the number of active features.

    Every method has three constants to search: ``third`` is COPDAC-Q's alpha_w, and the decay lambda of the traces of
    the two others.
    """

    actor: float
    critic: float
    third: float


@dataclass(frozen=True)
class Point:
    """An evaluation: mean return over the episodes."""

    step: int
    mean: float  # acting with the policy's mean, as the paper measures all methods
    sampled: float  # acting with the policy itself; NaN before the last checkpoint


class CenteredNormal(th.distributions.Distribution):
    """What ``OffPAC`` asks of a behavior's distribution, for N(center, std^2), without torch's cost for one action.

    Args:
        center: [n, action_dim] in environment units.
        std: [action_dim].
        generator: draws the actions.
    """

    def __init__(self, center: FloatArray, std: FloatArray, generator: np.random.Generator) -> None:
        # The base class only checks arguments and prepares shapes that nobody asks for.
        self._center = center
        self._std = std
        self._generator = generator

    def sample(self, sample_shape: Any = ()) -> th.Tensor:
        """[n, action_dim] actions."""
        assert not sample_shape
        return th.from_numpy(self._center + self._std * self._generator.standard_normal(self._center.shape))

    def log_prob(self, value: th.Tensor) -> th.Tensor:
        """[n, action_dim] log densities."""
        standardized = (value.numpy() - self._center) / self._std
        normalizer = np.log(self._std * math.sqrt(2.0 * math.pi))
        return th.from_numpy(-0.5 * standardized * standardized - normalizer)


class StochasticMethod:
    """Off-PAC, or with the target policy as its own behavior the stochastic actor-critic.

    Args:
        task: what to learn.
        settings: step sizes and lambda.
        on_policy: whether the target policy acts.
        seed: of everything.
    """

    def __init__(self, task: Task, settings: Settings, on_policy: bool, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self.model = OffPAC(
            "TileCodingPolicy",
            task.env_id,
            learning_rate=settings.actor,
            critic_learning_rate=settings.critic,
            secondary_learning_rate=1e-4,
            trace_decay=settings.third,
            gamma=task.gamma,
            behavior_policy="target" if on_policy else self._behavior,
            seed=seed,
        )
        policy = self.model.policy
        assert isinstance(policy, StochasticPolicy)
        self._policy = policy
        self._n = policy.n_outputs // 2
        self._center, self._reach = policy.action_center, policy.action_reach
        # The bias is the last feature; see agents.common.gaussian_policy for the squashing that is undone here.
        squashed = (math.log(BEHAVIOR_STD) - LOG_STD_CENTER) / LOG_STD_REACH
        policy.table()[-1, self._n : 2 * self._n] = LOG_STD_REACH * math.atanh(squashed)

    def _outputs(self, observation: NDArray[np.float32]) -> FloatArray:
        rows: FloatArray = self._policy.table().take(self._policy.feature_map(observation), 0)
        return rows.sum(axis=0)

    def _behavior(self, observations: NDArray[np.float32]) -> CenteredNormal:
        return CenteredNormal(self.mean(observations[0])[None], BEHAVIOR_STD * self._reach, self._generator)

    def mean(self, observation: NDArray[np.float32]) -> FloatArray:
        """The target policy's mean, before clipping."""
        return self._center + self._reach * self._outputs(observation)[: self._n]

    def sampler(self, generator: np.random.Generator) -> Act:
        """The target policy, sampled."""

        def act(observation: NDArray[np.float32]) -> FloatArray:
            outputs = self._outputs(observation)
            noise = np.exp(log_std(outputs[self._n : 2 * self._n])) * generator.standard_normal(self._n)
            return self._center + self._reach * (outputs[: self._n] + noise)

        return act


class DeterministicMethod:
    """COPDAC-Q with normal noise around its mean.

    Args:
        task: what to learn.
        settings: step sizes.
        seed: of everything.
    """

    def __init__(self, task: Task, settings: Settings, seed: int) -> None:
        env = gym.make(task.env_id)
        assert isinstance(env.action_space, gym.spaces.Box)
        n_dims = int(np.prod(env.action_space.shape))
        low, high = (bound.astype(np.float64) for bound in (env.action_space.low, env.action_space.high))
        self._center, self._reach = (high + low) / 2.0, (high - low) / 2.0
        self.model = DPG(
            "TileCodingPolicy",
            env,
            learning_rate=settings.actor,
            critic_learning_rate=settings.third,
            value_learning_rate=settings.critic,
            gamma=task.gamma,
            action_noise=NormalActionNoise(np.zeros(n_dims), np.full(n_dims, BEHAVIOR_STD)),
            seed=seed,
        )

    def mean(self, observation: NDArray[np.float32]) -> FloatArray:
        """mu in environment units, before clipping."""
        policy = self.model.policy
        assert isinstance(policy, DeterministicPolicy)
        rows = policy.table().take(policy.feature_map(observation), 0)
        return self._center + self._reach * rows[:, policy.layout.actor].sum(axis=0)

    def sampler(self, generator: np.random.Generator) -> Act:
        """A deterministic policy has nothing to sample."""
        return self.mean


def make_method(name: str, task: Task, settings: Settings, seed: int) -> DeterministicMethod | StochasticMethod:
    """A learner with ``model``, ``mean`` and ``sampler``."""
    if name == "copdac-q":
        return DeterministicMethod(task, settings, seed)
    return StochasticMethod(task, settings, name != "off-pac", seed)


def episode_return(env: gym.Env, act: Act, seed: int, max_steps: int) -> float:
    """Undiscounted return of one episode."""
    space = env.action_space
    assert isinstance(space, gym.spaces.Box)
    observation, _ = env.reset(seed=seed)
    total = 0.0
    for _ in range(max_steps):
        action = np.minimum(np.maximum(act(observation), space.low), space.high)
        observation, reward, terminated, _, _ = env.step(action)
        total += float(reward)
        if terminated:
            break
    return total


def evaluate(task: Task, act: Act) -> float:
    """Mean return of the task's number of episodes, which start and are disturbed alike for all methods and runs."""
    env = gym.make(task.env_id).unwrapped
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + task.n_episodes)
    return float(np.mean([episode_return(env, act, seed, task.max_episode_steps) for seed in seeds]))


def learning_curve(name: str, task: Task, settings: Settings, seed: int) -> list[Point]:
    """Train and evaluate in turn; a run that diverges has NaN from there on."""
    th.set_num_threads(1)
    method = make_method(name, task, settings, seed)
    interval = task.n_steps // task.n_checkpoints
    points = [Point(interval * (i + 1), math.nan, math.nan) for i in range(task.n_checkpoints)]
    for i, point in enumerate(points):
        try:
            method.model.learn(interval, log_interval=None, reset_num_timesteps=i == 0)  # type: ignore[arg-type]
        except TrainingDivergedError:
            return points
        points[i] = replace(point, mean=evaluate(task, method.mean))
    sampled = evaluate(task, method.sampler(np.random.default_rng(seed)))
    points[-1] = replace(points[-1], sampled=sampled)
    return points
