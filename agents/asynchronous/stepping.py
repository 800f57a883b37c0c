"""Stepping one worker's environments into a segment.

:class:`DirectStepper` calls plain Gymnasium environments itself (an SB3 ``DummyVecEnv`` without wrappers is just that,
and its buffers and deep copies cost several times an environment's step), :class:`FrameStackStepper` does the same
where their frames are stacked, :class:`VecEnvStepper` goes through any SB3 vector environment. All write the same
numbers into the segment; a test holds them against each other.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecTransposeImage

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

    def leave(self, segment: Segment) -> None:
        """Others may step the environments from now on; ``segment`` holds what they show."""

    def close(self) -> None:
        """Close the environments."""


def _snapshot(info: dict[str, Any]) -> dict[str, Any]:
    """Infos as they are now: they are looked at when the segment has ended, and the environment may write on there."""
    try:
        return copy.deepcopy(info)
    except Exception:  # noqa: BLE001 - what cannot be copied, such as a simulator's handle, is shown as it is
        return dict(info)


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
        segment.put_observations(0, self._reset() if observations is None else observations)
        segment.episode_starts[0] = True if observations is None or episode_starts is None else episode_starts

    def _reset(self) -> Observations:
        return self.venv.reset()  # type: ignore[return-value]

    def step(self, actions: NDArray[Any], segment: Segment, t: int) -> bool:
        """Take one step in every environment; whether an episode ended."""
        rewards = segment.rewards
        any_ended = False
        for i, step in enumerate(self._steps):
            observation, rewards[t, i], terminated, truncated, info = step(actions[i])
            ended = terminated or truncated
            if self._keep_infos:
                info = _snapshot(info)
                info["TimeLimit.truncated"] = bool(truncated and not terminated)
                self._infos[i] = info
            if ended:
                any_ended = True
                record, success = info.get("episode"), info.get("is_success")
                if record is not None or success is not None:
                    self.episodes.append((record, success))
                final = observation
                if self._keep_infos or not terminated:
                    # the environment may write its next observation into the same array
                    final = self._final(segment, t, i, observation)
                segment.mark_end(t, i, bool(terminated), final)
                if self._keep_infos:
                    info["terminal_observation"] = final
                observation, self.venv.reset_infos[i] = self.envs[i].reset()
            self._put(segment, t, i, observation, ended)
        return any_ended

    def _put(self, segment: Segment, t: int, i: int, observation: Any, begins: bool) -> None:
        """Store what environment ``i`` shows after step ``t``, the first of an episode where it ``begins``."""
        segment.put_observation(t + 1, i, observation)

    def _final(self, segment: Segment, t: int, i: int, observation: Any) -> Any:
        """What an episode that ended with step ``t`` showed last, in memory of its own."""
        return _copy(observation)

    def infos(self) -> list[Info]:
        """The last step's infos as a DummyVecEnv gives them."""
        return list(self._infos)

    def leave(self, segment: Segment) -> None:
        """A DummyVecEnv keeps nothing that its next step reads."""

    def close(self) -> None:
        """Close the environments."""
        self.venv.close()


class FrameStackStepper(DirectStepper):
    """Steps environments whose last frames a VecFrameStack puts together, writing the stacks straight into the segment.

    SB3's wrapper rolls all stacks, and a VecTransposeImage copies them once more with a stride.

    Args:
        venv: VecFrameStack on a DummyVecEnv, which a VecTransposeImage may be around; see :meth:`serve`.
        stack: the VecFrameStack itself.
        transposed: whether there is a VecTransposeImage that does anything.
        keep_infos: whether :meth:`infos` will be asked for.
    """

    def __init__(self, venv: VecEnv, stack: VecFrameStack, transposed: bool, keep_infos: bool) -> None:
        assert isinstance(stack.venv, DummyVecEnv)
        super().__init__(stack.venv, keep_infos)
        self._whole = venv
        self._stack = stack
        self._transposed = transposed
        first = transposed or stack.stacked_obs.channels_first
        frame = stack.venv.observation_space.shape
        assert frame is not None
        depth = frame[0 if stack.stacked_obs.channels_first else -1]
        older, newer, newest = slice(None, -depth), slice(depth, None), slice(-depth, None)
        self._older, self._newer, self._newest = ((part,) if first else (..., part) for part in (older, newer, newest))

    @classmethod
    def serve(cls, venv: VecEnv, keep_infos: bool) -> FrameStackStepper | None:
        """A stepper for the environments, or None where they are wrapped in any other way."""
        stack: VecEnv = venv.venv if type(venv) is VecTransposeImage else venv
        transposed = type(venv) is VecTransposeImage and not venv.skip
        if (
            type(stack) is not VecFrameStack
            or type(stack.venv) is not DummyVecEnv
            or not isinstance(stack.venv.observation_space, spaces.Box)
            or (transposed and stack.stacked_obs.channels_first)
        ):
            return None
        return cls(venv, stack, transposed, keep_infos)

    def _reset(self) -> Observations:
        return self._whole.reset()  # type: ignore[return-value]

    def _put(self, segment: Segment, t: int, i: int, observation: Any, begins: bool) -> None:
        stacks = segment.observations
        assert isinstance(stacks, np.ndarray)
        before, after = stacks[t, i], stacks[t + 1, i]
        after[self._older] = 0 if begins else before[self._newer]
        after[self._newest] = np.transpose(observation, (2, 0, 1)) if self._transposed else observation

    def _final(self, segment: Segment, t: int, i: int, observation: Any) -> Any:
        self._put(segment, t, i, observation, begins=False)
        return segment.observations[t + 1, i].copy()  # type: ignore[index]

    def leave(self, segment: Segment) -> None:
        """Let the VecFrameStack go on from the stacks of the segment's last row."""
        stacks = segment.observation_row(segment.length)
        assert isinstance(stacks, np.ndarray)
        self._stack.stacked_obs.stacked_obs = stacks.transpose(0, 2, 3, 1).copy() if self._transposed else stacks.copy()


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

    def leave(self, segment: Segment) -> None:
        """Nothing was done behind the wrappers' backs."""

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
    return FrameStackStepper.serve(venv, keep_infos) or VecEnvStepper(venv)
