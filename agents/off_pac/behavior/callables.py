"""Behavior policies given as functions of the environment's observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th

from agents.common.importance import checked_probabilities
from agents.off_pac.behavior.base import (
    ContinuousBehavior,
    ContinuousTarget,
    DiscreteBehavior,
    FloatArray,
    Observations,
)


class DiscreteCallable(DiscreteBehavior):
    """``observations (n, ...) -> action probabilities (n, n_actions)``.

    Args:
        function: the callable.
        n_actions: number of actions.
    """

    name = "The behavior policy"

    def __init__(self, function: Callable[[Observations], Any], n_actions: int) -> None:
        self._function = function
        self._n_actions = n_actions

    def probabilities(self, observations: Observations, target: FloatArray) -> FloatArray:
        """[n, n_actions], as the function gives them, checked."""
        given = self._function(observations)
        if isinstance(given, th.Tensor):
            given = given.detach().cpu().numpy()
        return checked_probabilities(given, len(target), self._n_actions, self.name)


class ContinuousCallable(ContinuousBehavior):
    """``observations (n, ...) -> torch.distributions.Distribution`` over actions in environment units before clipping.

    Args:
        function: the callable; a distribution that is independent per dimension has its log_prob summed.
        action_dim: entries of an action.
    """

    name = "The behavior policy"

    def __init__(self, function: Callable[[Observations], Any], action_dim: int) -> None:
        self._function = function
        self._action_dim = action_dim

    def draw(
        self, observations: Observations, target: ContinuousTarget, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Actions [n, action_dim] and log densities [n].

        Raises:
            TypeError: the function returned something else, or a distribution over a countable set.
            ValueError: wrong shape, NaN or infinity.
        """
        distribution = self._function(observations)
        if not isinstance(distribution, th.distributions.Distribution):
            raise TypeError(
                f"{self.name} returned {type(distribution).__name__}, but for Box actions it must return a "
                "torch.distributions.Distribution over actions in environment units, such as Normal(mean, std)."
            )
        if _is_discrete(distribution):
            raise TypeError(
                f"{self.name} returned a {type(distribution).__name__}, but Box actions need a density and it has "
                "probabilities; return a distribution over actions in environment units, such as Normal(mean, std)."
            )
        with th.no_grad():
            sample = distribution.sample()
            log_prob = distribution.log_prob(sample)
        n = len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
        actions = sample.cpu().numpy().astype(np.float64)
        if actions.shape[:1] != (n,) or actions.size != n * self._action_dim:
            raise ValueError(
                f"{self.name} returned a distribution over actions of shape {actions.shape}, but {n} observation(s) "
                f"and "
                f"{self._action_dim} action entries need ({n}, {self._action_dim}); give its parameters that shape."
            )
        # A per-dimension density is summed; an Independent or multivariate one is complete already.
        log_density = log_prob.cpu().numpy().astype(np.float64).reshape(n, -1).sum(axis=1)
        return self.checked(actions.reshape(n, self._action_dim), log_density)


def _is_discrete(distribution: th.distributions.Distribution) -> bool:
    try:
        support: Any = distribution.support
    except NotImplementedError:  # not every distribution says where it lives
        return False
    return bool(support is not None and support.is_discrete)
