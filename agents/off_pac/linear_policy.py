"""The linear policies of Off-PAC: features, one table of weights, a softmax or a Gaussian on top.

The table has a row for each feature: actor outputs u, value v, secondary weights w.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution, Distribution
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from agents.common.gaussian_policy import LOG_STD_CENTER, LOG_STD_REACH
from agents.online.table_policy import TablePolicy, TileCoded


class LinearPolicy(TablePolicy):
    """pi and v linear in fixed features, all weights 0 at first.

    Discrete actions: softmax over one preference for each action. Box actions: independent Gaussians in units of half
    the action range, whose mean and z are linear in the features::

        log sigma = -1 + 2 tanh(z / 2)

    which keeps sigma between 0.05 and 2.7 (see ``agents.common.gaussian_policy``).

    Args:
        observation_space: Box and MultiBinary observations are the features themselves, Discrete and MultiDiscrete ones
            become one-hot; no bias is added.
        action_space: Discrete or Box.
        lr_schedule: unused; plain SGD with the algorithm's step sizes needs no optimizer.
        features: a feature map instead: a key of ``agents.common.features.FEATURE_MAPS`` or a callable that builds one.
        features_kwargs: passed on to it.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        features: Any = None,
        features_kwargs: dict[str, Any] | None = None,
    ) -> None:
        discrete = isinstance(action_space, spaces.Discrete)
        n_outputs = int(action_space.n) if discrete else 2 * int(np.prod(action_space.shape))  # type: ignore[attr-defined, arg-type]
        super().__init__(observation_space, action_space, n_outputs + 2, features, features_kwargs)
        self.n_outputs = n_outputs
        if isinstance(action_space, spaces.Box):
            low, high = (bound.astype(np.float64).ravel() for bound in (action_space.low, action_space.high))
            self.action_center = (high + low) / 2.0
            self.action_reach = (high - low) / 2.0

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """The target policy's action distribution, in environment units for Box actions.

        Args:
            obs: [n, ...] tensor of observations.
        """
        outputs = self._times(obs, self.weights[:, :-2])
        if isinstance(self.action_space, spaces.Discrete):
            return CategoricalDistribution(self.n_outputs).proba_distribution(outputs.float())
        half = self.n_outputs // 2
        center, reach = th.from_numpy(self.action_center), th.from_numpy(self.action_reach)
        mean = center + reach * outputs[:, :half]
        log_std = LOG_STD_CENTER + LOG_STD_REACH * th.tanh(outputs[:, half:] / LOG_STD_REACH) + reach.log()
        return DiagGaussianDistribution(half).proba_distribution(mean.float(), log_std.float())

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """[n, 1] the critic's values of observations [n, ...]."""
        return self._times(obs, self.weights[:, -2:-1]).float()

    def evaluate_actions(self, obs: PyTorchObs, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Values [n, 1], log probabilities [n] of the actions and entropies [n]."""
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Actions of the target policy, values [n, 1] and log probabilities [n]."""
        distribution = self.get_distribution(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        log_prob = distribution.log_prob(actions)
        return actions.reshape((-1, *self.action_space.shape)), self.predict_values(obs), log_prob  # type: ignore[misc]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self.get_distribution(observation).get_actions(deterministic=deterministic)


class TileCodingPolicy(TileCoded, LinearPolicy):
    """The linear policy on tile-coded Box observations; see ``agents.online.table_policy.TileCoded``."""
