"""Models and policies of Stable-Baselines3 (and of this package) as behavior policies."""

from __future__ import annotations

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from agents.common.importance import checked_probabilities
from agents.off_pac.behavior.base import (
    ContinuousBehavior,
    ContinuousTarget,
    DiscreteBehavior,
    FloatArray,
    Observations,
)
from agents.online.acting import Acting


class DiscreteModel(DiscreteBehavior):
    """A categorical policy (A2C, PPO, TRPO, A3C, OffPAC ...), or a value model as epsilon-greedy.

    Args:
        model: algorithm or policy.
        action_space: the environment's.

    Raises:
        ValueError: the model has no action probabilities.
    """

    def __init__(self, model: BaseAlgorithm | BasePolicy, action_space: spaces.Discrete) -> None:
        self._acting = Acting(model, action_space)
        self.name = self._acting.name
        self._n_actions = int(action_space.n)
        self._categorical = hasattr(self._acting.policy, "get_distribution")
        if not self._categorical and not hasattr(self._acting.model, "exploration_rate"):
            raise ValueError(
                f"{self.name} is deterministic, but importance ratios need action probabilities; pass a model that "
                f"has them, "
                "a DQN model (not its policy alone) for epsilon-greedy actions, or a callable that returns "
                "probabilities."
            )

    def probabilities(self, observations: Observations, target: FloatArray) -> FloatArray:
        """[n, n_actions], checked."""
        with th.no_grad():
            tensors = self._acting.tensors(observations)
            if self._categorical:
                given = self._acting.policy.get_distribution(tensors).distribution.probs.cpu().numpy()
            else:
                rate = float(self._acting.model.exploration_rate)  # type: ignore[union-attr]
                greedy = self._acting.policy._predict(tensors, deterministic=True).cpu().numpy().ravel()
                given = np.full((len(greedy), self._n_actions), rate / self._n_actions)
                given[np.arange(len(greedy)), greedy] += 1.0 - rate
        return checked_probabilities(given, len(target), self._n_actions, self.name)


class ContinuousModel(ContinuousBehavior):
    """A Gaussian policy (A2C, PPO, TRPO ...) or a squashed one (SAC, TQC, CrossQ).

    Densities are converted to environment units: a squashed policy's are per unit of [-1, 1].

    Args:
        model: algorithm or policy.
        action_space: the environment's.

    Raises:
        ValueError: the model is deterministic (TD3, DDPG).
    """

    def __init__(self, model: BaseAlgorithm | BasePolicy, action_space: spaces.Box) -> None:
        self._acting = Acting(model, action_space)
        self.name = self._acting.name
        policy = self._acting.policy
        self._own_density = hasattr(policy, "get_distribution")
        if not self._own_density and not hasattr(getattr(policy, "actor", None), "action_log_prob"):
            raise ValueError(
                f"{self.name} is deterministic and has no density, but importance ratios need one; pass a "
                f"stochastic policy "
                "such as PPO's or SAC's, or a callable that returns a torch.distributions.Distribution."
            )
        self._squashed = not self._own_density or bool(policy.squash_output)
        self._reach = (action_space.high.astype(np.float64).ravel() - action_space.low.ravel()) / 2.0
        self._center = (action_space.high.astype(np.float64).ravel() + action_space.low.ravel()) / 2.0

    def draw(
        self, observations: Observations, target: ContinuousTarget, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Actions [n, action_dim] in environment units and log densities [n]."""
        with th.no_grad():
            tensors = self._acting.tensors(observations)
            if self._own_density:
                distribution = self._acting.policy.get_distribution(tensors)
                sample = distribution.get_actions()
                log_prob = distribution.log_prob(sample)
            else:
                sample, log_prob = self._acting.policy.actor.action_log_prob(tensors)
        actions = sample.cpu().numpy().astype(np.float64).reshape(len(sample), -1)
        log_density = log_prob.cpu().numpy().astype(np.float64).reshape(len(sample))
        if self._squashed:
            actions = self._center + self._reach * actions
            log_density = log_density - np.log(self._reach).sum()
        return self.checked(actions, log_density)
