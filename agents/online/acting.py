"""A model or policy that acts for another agent, fed as its own training fed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy


class Acting:
    """A model or policy, and how it is fed: raw observations, normalized as the model's own training did.

    Args:
        model: of Stable-Baselines3 or this package.
        action_space: the environment's.

    Raises:
        ValueError: it acts in another space, or is recurrent.
    """

    def __init__(self, model: BaseAlgorithm | BasePolicy, action_space: spaces.Space) -> None:
        self.model = model if isinstance(model, BaseAlgorithm) else None
        self.policy: Any = model.policy if isinstance(model, BaseAlgorithm) else model
        self.name = f"The behavior policy ({type(model).__name__})"
        own = self.policy.action_space
        if isinstance(own, spaces.Discrete) and isinstance(action_space, spaces.Discrete):
            same = own.n == action_space.n
        else:
            same = own == action_space
        if not same:
            raise ValueError(
                f"{self.name} acts in {own}, but the environment takes {action_space}; give a policy for this "
                f"environment."
            )
        if hasattr(self.policy, "lstm_actor"):
            raise ValueError(
                f"{self.name} is recurrent, but a behavior policy must be a function of the observation; pass one "
                f"without memory."
            )

    def tensors(self, observations: Any) -> Any:
        """Observations as the policy's network takes them."""
        self.policy.set_training_mode(False)
        self._explore_anew(observations)
        return self.policy.obs_to_tensor(self._normalized(observations))[0]

    def predict(self, observations: Any) -> NDArray:
        """[n, ...] actions in environment units, sampled where the policy is stochastic."""
        self._explore_anew(observations)
        return self.policy.predict(self._normalized(observations), deterministic=False)[0]

    def _explore_anew(self, observations: Any) -> None:
        """Draw the noise of generalized state-dependent exploration.

        Its owner draws it once in a while as it learns; nobody does here, and noise that stays is a function of the
        state, which no critic can tell from the policy.
        """
        explorer = getattr(self.policy, "actor", self.policy)
        if getattr(explorer, "use_sde", False):
            rows = next(iter(observations.values())) if isinstance(observations, Mapping) else observations
            explorer.reset_noise(len(rows))

    def _normalized(self, observations: Any) -> Any:
        normalizer = None if self.model is None else self.model.get_vec_normalize_env()
        return observations if normalizer is None else normalizer.normalize_obs(observations)
