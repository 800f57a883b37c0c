"""The base of the agents that learn from a behavior policy's stream: SB3's ``OffPolicyAlgorithm`` in front.

A subclass decides how it acts and learns. What they share is here: environments given as ids or callables, the
observations that a behavior policy looks at, and the behavior policy that a file may or may not hold.
"""

from __future__ import annotations

import pathlib
from io import BufferedIOBase
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy

from agents.asynchronous.copies import EnvironmentLike, resolve
from agents.online.images import untransposed

_MODELS = (BaseAlgorithm, BasePolicy)


class _NotInTheFile:
    """Stands for a behavior policy that was a model and therefore not saved."""


class OnlineAlgorithm(OffPolicyAlgorithm):
    """An off-policy algorithm with the argument ``behavior_policy``; takes what OffPolicyAlgorithm takes."""

    behavior_policy: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsaved_behavior: str | None = None

    def set_env(self, env: EnvironmentLike, force_reset: bool = True) -> None:
        """Learn from another environment of the same spaces and number of copies from now on.

        Args:
            env: id, Gymnasium environment, VecEnv, or a callable that returns either.
            force_reset: begin with a reset.
        """
        super().set_env(resolve(env), force_reset)

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path | BufferedIOBase,
        env: EnvironmentLike | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """As SB3's; ``env`` may also be an id or a callable.

        A behavior policy that was a model is not in the file: pass it as ``behavior_policy`` before learning goes on.
        """
        model = super().load(path, None if env is None else resolve(env), *args, **kwargs)
        if model._unsaved_behavior is not None and "behavior_policy" not in kwargs:
            model.behavior_policy = _NotInTheFile
        return model

    def save(self, path: str | pathlib.Path | BufferedIOBase, *args: Any, **kwargs: Any) -> None:
        """As SB3's; a behavior policy that is a model is left out."""
        if isinstance(self.behavior_policy, _MODELS):
            self._unsaved_behavior = type(self.behavior_policy).__name__
        elif self.behavior_policy is not _NotInTheFile:
            self._unsaved_behavior = None
        super().save(path, *args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        excluded = super()._excluded_save_params()
        return [*excluded, "behavior_policy"] if self._unsaved_behavior is not None else excluded

    def _check_behavior_is_here(self) -> None:
        """Refuse to learn without the behavior policy that a file did not hold.

        Raises:
            ValueError: the model was loaded without it.
        """
        if self.behavior_policy is _NotInTheFile:
            raise ValueError(
                f"This model was saved with a {self._unsaved_behavior} as its behavior policy, which its file does "
                f"not hold; pass it again: {type(self).__name__}.load(path, env=env, behavior_policy=model)."
            )

    def raw_observations(self) -> NDArray | dict[str, NDArray]:
        """[n_envs, ...] last observations as the environment gave them: not normalized, images not transposed."""
        assert self.env is not None
        assert self._last_obs is not None
        if self._vec_normalize_env is not None:
            assert self._last_original_obs is not None
            return self._last_original_obs
        return untransposed(self._last_obs, self.env)

    def remember_observations(self, observations: Any, dones: NDArray[np.bool_]) -> None:
        """Keep what the next step starts from."""
        self._last_obs = observations
        self._last_episode_starts = dones
        if self._vec_normalize_env is not None:
            self._last_original_obs = self._vec_normalize_env.get_original_obs()
