"""The base of the agents that learn from a behavior policy's stream: SB3's ``OffPolicyAlgorithm`` in front.

A subclass decides how it acts and learns. What they share is here: environments given as ids or callables, the
observations that a behavior policy looks at, and the behavior policy that a file may or may not hold.
"""

from __future__ import annotations

import pathlib
from abc import abstractmethod
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from agents.asynchronous.copies import EnvironmentLike, resolve
from agents.common.arguments import check_number
from agents.common.schedules import FollowsLearningRate, constant_of
from agents.online.final_observations import KeepsFinalObservations
from agents.online.images import untransposed

_MODELS = (BaseAlgorithm, BasePolicy)


class _NotInTheFile:
    """Stands for a behavior policy that was a model and therefore not saved."""


class OnlineAlgorithm(FollowsLearningRate, OffPolicyAlgorithm):
    """An off-policy algorithm with the argument ``behavior_policy``; takes what OffPolicyAlgorithm takes."""

    behavior_policy: Any
    step_size_names: ClassVar[tuple[str, ...]]
    """Arguments that are step sizes: a float, a schedule, or None where a default of its own is worked out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsaved_behavior: str | None = None
        self._keeper: KeepsFinalObservations | None = None

    def set_env(self, env: EnvironmentLike, force_reset: bool = True) -> None:
        """Learn from another environment of the same spaces and number of copies from now on.

        Args:
            env: id, Gymnasium environment, VecEnv, or a callable that returns either.
            force_reset: begin with a reset.
        """
        super().set_env(resolve(env), force_reset)

    def set_random_seed(self, seed: int | None = None) -> None:
        """As SB3's; also NumPy's whole numbers, which Python's generator refuses."""
        super().set_random_seed(None if seed is None else int(seed))

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

        Raises:
            ValueError: an argument that replaces a stored one is out of range.
        """
        model = super().load(path, None if env is None else resolve(env), *args, **kwargs)
        if model._unsaved_behavior is not None and "behavior_policy" not in kwargs:
            model.behavior_policy = _NotInTheFile
        model._check_arguments()
        return model

    def save(self, path: str | pathlib.Path | BufferedIOBase, *args: Any, **kwargs: Any) -> None:
        """As SB3's; a behavior policy that is a model is left out."""
        if isinstance(self.behavior_policy, _MODELS):
            self._unsaved_behavior = type(self.behavior_policy).__name__
        elif self.behavior_policy is not _NotInTheFile:
            self._unsaved_behavior = None
        super().save(path, *args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        excluded = [*super()._excluded_save_params(), "_keeper"]
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

    def _setup_learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        check_number("total_timesteps", total_timesteps)
        return super()._setup_learn(total_timesteps, *args, **kwargs)

    @abstractmethod
    def _check_arguments(self) -> None:
        """Refuse attributes that are out of range or do not go together, with a ValueError that names them."""

    @property
    def constant_step_sizes(self) -> bool:
        """Whether no step size follows a schedule."""
        given = (getattr(self, name) for name in self.step_size_names)
        # The schedule may have been replaced alone, as SB3's documentation does with models from a file.
        alone = constant_of(self.lr_schedule)
        return alone is not None and all(rate is None or isinstance(rate, float | int) for rate in given)

    def raw_observations(self) -> NDArray | dict[str, NDArray]:
        """[n_envs, ...] last observations as the environment gave them: not normalized, images not transposed."""
        assert self.env is not None
        assert self._last_obs is not None
        if self._vec_normalize_env is not None:
            assert self._last_original_obs is not None
            return self._last_original_obs
        return untransposed(self._last_obs, self.env)

    def raw_final_observations(self, final: Any, dones: NDArray[np.bool_]) -> Any:
        """[n_envs, ...] observations just reached as the environment gave them, for a behavior policy to look at.

        Args:
            final: what ``agents.online.final_observations`` gave.
            dones: [n_envs] where an episode ended.
        """
        assert self.env is not None
        final = untransposed(final, self.env)
        if self._vec_normalize_env is None:
            return final
        # The wrapper remembers what it normalized; of ended episodes it has seen the next observation since.
        original, restored = self._vec_normalize_env.get_original_obs(), self._vec_normalize_env.unnormalize_obs(final)
        # What was clipped is not restored, but it may have been kept.
        kept = {} if self._keeper is None else self._keeper.kept
        if isinstance(restored, dict):
            assert isinstance(original, dict)
            return {
                key: _chosen(dones, restored[key], original[key], {i: _part(row, key) for i, row in kept.items()})
                for key in original
            }
        return _chosen(dones, restored, original, kept)

    def step_keeping_final_observations(self, actions: Any) -> VecEnvStepReturn:
        """A step of the environment, after which ``raw_final_observations`` knows what a normalization has clipped."""
        assert self.env is not None
        normalizer = self._vec_normalize_env
        if normalizer is None:
            return self.env.step(actions)
        beneath = normalizer.venv
        if self._keeper is None or self._keeper.venv is not beneath:
            self._keeper = KeepsFinalObservations(beneath)
        # For the step alone: callbacks compare the wrappers with those of an evaluation's environment.
        normalizer.venv = self._keeper
        try:
            return self.env.step(actions)
        finally:
            normalizer.venv = beneath

    def remember_observations(self, observations: Any, dones: NDArray[np.bool_]) -> None:
        """Keep what the next step starts from."""
        self._last_obs = observations
        self._last_episode_starts = dones
        if self._vec_normalize_env is not None:
            self._last_original_obs = self._vec_normalize_env.get_original_obs()


def _part(observation: Any, key: str) -> Any:
    return observation.get(key) if isinstance(observation, Mapping) else None


def _chosen(dones: NDArray[np.bool_], where_done: Any, elsewhere: Any, kept: Mapping[int, Any]) -> NDArray:
    """Rows of ``elsewhere``, but where done those that were kept, or else those of ``where_done``."""
    result = elsewhere.copy()
    result[dones] = where_done[dones]
    for row, observation in kept.items():
        # A normalization may encode what it shows as the environment's own: then it was not kept in that form.
        if np.shape(observation) == result[row].shape:
            result[row] = observation
    return result
