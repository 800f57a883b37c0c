"""What linear policies share: features, and one table of weights with a row for each feature.

The learner works on the NumPy table. The policy's one torch parameter is a view of it, so acting through torch
(``predict``, ``EvalCallback``, ``save``) sees every update without a copy.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from agents.common.features import FeatureMap, TileCoding, make_feature_map


class TablePolicy(BasePolicy):
    """Linear functions of fixed features, all weights 0 at first; a subclass says what the columns mean.

    Args:
        observation_space: Box and MultiBinary observations are the features themselves, Discrete and MultiDiscrete ones
            become one-hot; no bias is added.
        action_space: the environment's.
        n_columns: linear functions, one for each column of the table.
        features: a feature map instead: a key of ``agents.common.features.FEATURE_MAPS`` or a callable that builds one.
        features_kwargs: passed on to it.
        squash_output: whether actions come out in [-1, 1], to be scaled to the environment's box.

    Raises:
        ValueError: the features do not go with the observation space, or the table takes more memory than is allowed
            (see ``agents.common.features.room``).
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        n_columns: int,
        features: Any = None,
        features_kwargs: dict[str, Any] | None = None,
        squash_output: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space, squash_output=squash_output)
        if features is None:
            discrete = isinstance(observation_space, spaces.Discrete | spaces.MultiDiscrete)
            features = "one-hot" if discrete else "identity"
        self._features = features
        self._features_kwargs = features_kwargs or {}
        self.feature_map: FeatureMap = make_feature_map(features, observation_space, **self._features_kwargs)
        self.feature_map.require_room(n_columns, "weights")
        self._table = np.zeros((self.feature_map.n_features, n_columns))
        self.weights = th.nn.Parameter(th.from_numpy(self._table))

    @property
    def step_size_divisor(self) -> int:
        """What the step sizes are divided by: 1, features are taken as given."""
        return 1

    def table(self) -> NDArray[np.float64]:
        """[n_features, n_columns] weights; the torch parameter is a view of it.

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

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "features": self._features,
            "features_kwargs": self._features_kwargs,
        }


class TileCoded:
    """Makes a linear policy one on tile-coded Box observations: ``class TileCodingPolicy(TileCoded, LinearPolicy)``.

    Step sizes are divided by the number of active features.

    Args:
        observation_space: a Box.
        action_space: the environment's.
        lr_schedule: unused.
        n_tilings, n_tiles, bias, low, high: see ``agents.common.features.TileCoding``.
        kwargs: what else the linear policy takes.
    """

    feature_map: FeatureMap

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
        **kwargs: Any,
    ) -> None:
        self._tiling = {"n_tilings": n_tilings, "n_tiles": n_tiles, "bias": bias, "low": low, "high": high}
        super().__init__(observation_space, action_space, lr_schedule, TileCoding, self._tiling, **kwargs)  # type: ignore[call-arg]

    @property
    def step_size_divisor(self) -> int:
        """Number of active features, n_tilings plus the bias."""
        return self.feature_map.n_active

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()  # type: ignore[misc]
        del parameters["features"], parameters["features_kwargs"]
        return {**parameters, **self._tiling}
