"""Stepping one worker's environments into a segment.

Two ways in: :class:`DirectStepper` calls plain Gymnasium environments itself (an SB3 ``DummyVecEnv`` without wrappers
is just that, and its buffers and deep copies cost several times an environment's step), :class:`VecEnvStepper` goes
through any SB3 vector environment. Both write the same numbers into the segment; a test holds them against each other.
"""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.asynchronous.segment import Observations, Segment

Info = dict[str, Any]


class Stepper(Protocol):
    """What the worker's loop asks of its environments."""

    n_envs: int
    episodes: list[tuple[Info | None, Any]]

    def start(
        self, segment: Segment, observations: Observations | None, episode_starts: NDArray[np.bool_] | None = None
    ) -> None:
        """Put the observations to begin with into row 0, after a reset where none are given.

        Args:
            segment: to be filled.
            observations: what the environments show now.
            episode_starts: [n_envs], whether that begins an episode; None for all.
        """

    def step(self, actions: NDArray[Any], segment: Segment, t: int) -> bool:
        """Take one step in every environment; whether an episode ended."""

    def infos(self) -> list[Info]:
        """The last step's infos as a DummyVecEnv gives them."""

    def close(self) -> None:
        """Close the environments."""


class DirectStepper:
    """Steps the environments of a bare DummyVecEnv, one after the other.

    Args:
        venv: its owner; its reset infos are kept up to date.
        keep_infos: whether :meth:`infos` will be asked for.

    Attributes:
        episodes: (Monitor's episode record or None, ``is_success`` or None) of episodes ended since it was cleared.
    """

    def __init__(self, venv: DummyVecEnv, keep_infos: bool) -> None:
        self.venv = venv
        self.envs: list[gym.Env[Any, Any]] = venv.envs
        self.n_envs = len(self.envs)
        self.episodes: list[tuple[Info | None, Any]] = []
        self._keep_infos = keep_infos
        self._infos: list[Info] = [{} for _ in self.envs]
        self._steps = [env.step for env in self.envs]

    def start(
        self, segment: Segment, observations: Observations | None, episode_starts: NDArray[np.bool_] | None = None
    ) -> None:
        """Put the observations to begin with into row 0, after a reset where none are given."""
        segment.put_observations(0, self.venv.reset() if observations is None else observations)  # type: ignore[arg-type]
        segment.episode_starts[0] = True if observations is None or episode_starts is None else episode_starts

    def step(self, actions: NDArray[Any], segment: Segment, t: int) -> bool:
        """Take one step in every environment; whether an episode ended."""
        rewards = segment.rewards
        any_ended = False
        for i, step in enumerate(self._steps):
            observation, rewards[t, i], terminated, truncated, info = step(actions[i])
            if terminated or truncated:
                any_ended = True
                record, success = info.get("episode"), info.get("is_success")
                if record is not None or success is not None:
                    self.episodes.append((record, success))
                final = observation
                if self._keep_infos or not terminated:
                    # the environment may write its next observation into the same array
                    final = _copy(observation)
                segment.mark_end(t, i, bool(terminated), final)
                if self._keep_infos:
                    info = {**info, "terminal_observation": final}
                observation, self.venv.reset_infos[i] = self.envs[i].reset()
            if self._keep_infos:
                self._infos[i] = {**info, "TimeLimit.truncated": bool(truncated and not terminated)}
            segment.put_observation(t + 1, i, observation)
        return any_ended

    def infos(self) -> list[Info]:
        """The last step's infos as a DummyVecEnv gives them."""
        return list(self._infos)

    def close(self) -> None:
        """Close the environments."""
        self.venv.close()


class VecEnvStepper:
    """Steps any SB3 vector environment, wrappers and all.

    Args:
        venv: the environment.

    Attributes:
        episodes: as :class:`DirectStepper`'s.
    """

    def __init__(self, venv: VecEnv) -> None:
        self.venv = venv
        self.n_envs = venv.num_envs
        self.episodes: list[tuple[Info | None, Any]] = []
        self._infos: list[Info] = []

    def start(
        self, segment: Segment, observations: Observations | None, episode_starts: NDArray[np.bool_] | None = None
    ) -> None:
        """Put the observations to begin with into row 0, after a reset where none are given."""
        segment.put_observations(0, self.venv.reset() if observations is None else observations)  # type: ignore[arg-type]
        segment.episode_starts[0] = True if observations is None or episode_starts is None else episode_starts

    def step(self, actions: NDArray[Any], segment: Segment, t: int) -> bool:
        """Take one step in every environment; whether an episode ended."""
        observations, segment.rewards[t], dones, self._infos = self.venv.step(actions)
        ended = bool(dones.any())
        if ended:
            for i in np.flatnonzero(dones):
                info = self._infos[i]
                record, success = info.get("episode"), info.get("is_success")
                if record is not None or success is not None:
                    self.episodes.append((record, success))
                terminated = not info.get("TimeLimit.truncated", False) or "terminal_observation" not in info
                segment.mark_end(t, int(i), terminated, _copy(info.get("terminal_observation")))
        segment.put_observations(t + 1, observations)  # type: ignore[arg-type]
        return ended

    def infos(self) -> list[Info]:
        """The last step's infos."""
        return self._infos

    def close(self) -> None:
        """Close the environment."""
        self.venv.close()


def _copy(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: np.array(part) for key, part in observation.items()}
    return np.array(observation) if isinstance(observation, np.ndarray) else observation


def make_stepper(venv: VecEnv, keep_infos: bool) -> Stepper:
    """The cheapest stepper that gives what ``venv.step`` gives."""
    if type(venv) is DummyVecEnv:
        return DirectStepper(venv, keep_infos)
    return VecEnvStepper(venv)
