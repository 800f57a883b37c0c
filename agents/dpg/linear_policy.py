"""The linear policies of DPG: mu and its critic as columns of one table."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from agents.common.deterministic_gradient import action_features
from agents.dpg.layout import Layout
from agents.online.table_policy import TablePolicy, TileCoded


class LinearPolicy(TablePolicy):
    """Mu and Q linear in fixed features, all weights 0 at first.

    The mean is in units of half the action range around its middle and is clipped to [-1, 1]; SB3's ``predict`` scales
    it to the environment's box.

    Args:
        observation_space: Box and MultiBinary observations are the features themselves, Discrete and MultiDiscrete ones
            become one-hot; no bias is added.
        action_space: Box.
        lr_schedule: unused; plain SGD with the algorithm's step sizes needs no optimizer.
        features: a feature map instead: a key of ``agents.common.features.FEATURE_MAPS`` or a callable that builds one.
        features_kwargs: passed on to it.
        variant, full_gq: the algorithm passes its own.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        features: Any = None,
        features_kwargs: dict[str, Any] | None = None,
        variant: str = "copdac-q",
        full_gq: bool = False,
    ) -> None:
        self.layout = Layout(int(np.prod(action_space.shape)), variant, full_gq)
        super().__init__(
            observation_space, action_space, self.layout.n_columns, features, features_kwargs, squash_output=True
        )

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """[n, m] means in [-1, 1]; mu is deterministic either way."""
        return self._times(observation, self.weights[:, self.layout.actor]).clamp(-1.0, 1.0).float()

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """[n, m] means in [-1, 1]."""
        return self._predict(obs, deterministic)

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """[n, 1] the critic's Q(s, mu(s)) of observations [n, ...]."""
        layout = self.layout
        outputs = self._times(obs, cast(th.Tensor, self.weights))
        values = outputs[:, layout.value]
        if not layout.compatible:
            means = outputs[:, layout.actor].clamp(-1.0, 1.0).detach().numpy()
            of_action = th.tensor([action_features(mean) for mean in means.tolist()], dtype=outputs.dtype)
            values = values + (outputs[:, layout.critic] * of_action).sum(dim=1)
        return values.unsqueeze(1).float()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"variant": self.layout.variant, "full_gq": self.layout.full_gq}
        return {**super()._get_constructor_parameters(), **own}


class TileCodingPolicy(TileCoded, LinearPolicy):
    """The linear policy on tile-coded Box observations; see ``agents.online.table_policy.TileCoded``."""
