"""The linear policies of Off-PAC: features, one table of weights, a softmax or a Gaussian on top.

The learner works on a NumPy table with a row for each feature: actor outputs, value, secondary weights. The policy's
one torch parameter is a view of that table, so acting through torch (``predict``, ``EvalCallback``, ``save``) sees
every update without a copy.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution, Distribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from agents.common.features import FeatureMap, TileCoding, make_feature_map
from agents.common.gaussian_policy import LOG_STD_CENTER, LOG_STD_REACH


class LinearPolicy(BasePolicy):
    """pi and v linear in fixed features, all weights 0 at first.

    Discrete actions: softmax over one preference for each action. Box actions: independent Gaussians, mean and log
    standard deviation linear in the features, in units of half the action range (see
    ``agents.common.gaussian_policy``).

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
        super().__init__(observation_space, action_space)
        if features is None:
            discrete = isinstance(observation_space, spaces.Discrete | spaces.MultiDiscrete)
            features = "one-hot" if discrete else "identity"
        self._features = features
        self._features_kwargs = features_kwargs or {}
        self.feature_map: FeatureMap = make_feature_map(features, observation_space, **self._features_kwargs)
        if isinstance(action_space, spaces.Discrete):
            self.n_outputs = int(action_space.n)
        else:
            assert isinstance(action_space, spaces.Box)
            self.n_outputs = 2 * int(np.prod(action_space.shape))
            low, high = (bound.astype(np.float64).ravel() for bound in (action_space.low, action_space.high))
            self.action_center = (high + low) / 2.0
            self.action_reach = (high - low) / 2.0
        self._table = np.zeros((self.feature_map.n_features, self.n_outputs + 2))
        self.weights = th.nn.Parameter(th.from_numpy(self._table))

    @property
    def step_size_divisor(self) -> int:
        """What the step sizes are divided by: 1, features are taken as given."""
        return 1

    def table(self) -> NDArray[np.float64]:
        """[n_features, n_outputs + 2] weights u, v, w; the torch parameter is a view of it.

        Whatever replaced the parameter's memory (``load_from_vector``, a deep copy) is taken over first.
        """
        if self.weights.data_ptr() != self._table.ctypes.data:
            self._table[...] = self.weights.detach().cpu().numpy()
            self.weights.data = th.from_numpy(self._table)
        return self._table

    def _times(self, obs: PyTorchObs, weights: th.Tensor) -> th.Tensor:
        """[n, columns]: features of the observations times some columns of weights."""
        features = th.from_numpy(self.feature_map.batch(cast(th.Tensor, obs).detach().cpu().numpy()))
        if self.feature_map.sparse:
            return weights[features].sum(dim=1)
        return features @ weights

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

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "features": self._features,
            "features_kwargs": self._features_kwargs,
        }


class TileCodingPolicy(LinearPolicy):
    """A linear policy on tile-coded Box observations; step sizes are divided by the number of active features.

    Args:
        observation_space: a Box.
        action_space: Discrete or Box.
        lr_schedule: unused.
        n_tilings, n_tiles, bias, low, high: see ``agents.common.features.TileCoding``.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        n_tilings: int = 10,
        n_tiles: int | tuple[int, ...] = 10,
        bias: bool = True,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
    ) -> None:
        self._tiling = {"n_tilings": n_tilings, "n_tiles": n_tiles, "bias": bias, "low": low, "high": high}
        super().__init__(observation_space, action_space, lr_schedule, TileCoding, self._tiling)

    @property
    def step_size_divisor(self) -> int:
        """Number of active features, n_tilings plus the bias."""
        return self.feature_map.n_active

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            **self._tiling,
        }
