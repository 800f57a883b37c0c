"""One worker's segment of experience: what happened between two gradient pushes."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Observations = NDArray[Any] | dict[str, NDArray[Any]]


def allocate_observations(space: spaces.Space[Any], leading: tuple[int, ...]) -> Observations:
    """Zeros for observations of a space with leading dimensions; a dict of arrays for a Dict space."""
    if isinstance(space, spaces.Dict):
        return {key: _zeros(part, leading) for key, part in space.spaces.items()}
    return _zeros(space, leading)


def _zeros(space: spaces.Space[Any], leading: tuple[int, ...]) -> NDArray[Any]:
    return np.zeros((*leading, *(space.shape or ())), dtype=space.dtype)


class Segment:
    """Preallocated memory for ``n_steps`` vectorized steps of ``n_envs`` environments.

    Row ``t`` of :attr:`observations` is what was seen before step t, row :attr:`length` what was seen after the last
    one (after the reset, where an episode ended).

    Args:
        observation_space: of what the environments show.
        action_space: of the environments.
        n_steps: rows.
        n_envs: columns.

    Attributes:
        observations: (n_steps + 1, n_envs, *space), or a dict of such arrays.
        actions: (n_steps, n_envs, *space), as the policy gave them (unclipped).
        rewards: (n_steps, n_envs) float32.
        terminated: (n_steps, n_envs) bool.
        truncated: (n_steps, n_envs) bool; never True where terminated is.
        episode_starts: (n_steps + 1, n_envs) bool, whether the observation of that row begins an episode.
        final_observations: (t, environment, observation) of every truncated step, seen before the reset.
        length: steps taken, at most n_steps.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], n_steps: int, n_envs: int
    ) -> None:
        self.n_steps = n_steps
        self.n_envs = n_envs
        self.observations = allocate_observations(observation_space, (n_steps + 1, n_envs))
        self.actions = _zeros(action_space, (n_steps, n_envs))
        self.rewards = np.zeros((n_steps, n_envs), dtype=np.float32)
        self.terminated = np.zeros((n_steps, n_envs), dtype=bool)
        self.truncated = np.zeros((n_steps, n_envs), dtype=bool)
        self.episode_starts = np.zeros((n_steps + 1, n_envs), dtype=bool)
        self.final_observations: list[tuple[int, int, Any]] = []
        self.length = 0
        self._ended = False

    def begin(self) -> None:
        """Start the next segment where the last one ended."""
        last = self.length
        if last:
            for rows in self._observation_arrays():
                rows[0] = rows[last]
            self.episode_starts[0] = self.episode_starts[last]
            self.final_observations.clear()
            self.length = 0
        if self._ended:
            self.terminated[:] = False
            self.truncated[:] = False
            self.episode_starts[1:] = False
            self._ended = False

    def mark_end(self, t: int, env: int, terminated: bool, final_observation: Any) -> None:
        """Note that environment ``env`` ended its episode with step ``t``; else it was truncated."""
        self._ended = True
        self.episode_starts[t + 1, env] = True
        if terminated:
            self.terminated[t, env] = True
        else:
            self.truncated[t, env] = True
            self.final_observations.append((t, env, final_observation))

    def put_observation(self, row: int, env: int, observation: Any) -> None:
        """Store what environment ``env`` shows in ``row``."""
        stored = self.observations
        if isinstance(stored, dict):
            for key, rows in stored.items():
                rows[row, env] = observation[key]
        else:
            stored[row, env] = observation

    def put_observations(self, row: int, observations: Observations) -> None:
        """Store what all environments show in ``row``."""
        stored = self.observations
        if isinstance(stored, dict):
            assert isinstance(observations, dict)
            for key, rows in stored.items():
                rows[row] = observations[key]
        else:
            stored[row] = observations

    def observation_row(self, row: int) -> Observations:
        """The observations of a row, (n_envs, *space)."""
        stored = self.observations
        if isinstance(stored, dict):
            return {key: rows[row] for key, rows in stored.items()}
        return stored[row]

    def flat_observations(self, first: int = 0) -> Observations:
        """As many rows as steps taken, (length * n_envs, *space): those before the steps, or from row ``first`` on."""
        stored = self.observations
        if isinstance(stored, dict):
            return {key: _flatten(rows, first, self.length) for key, rows in stored.items()}
        return _flatten(stored, first, self.length)

    def stacked_final_observations(self) -> Observations:
        """The final observations of truncated episodes, (number of them, *space)."""
        finals = [observation for _, _, observation in self.final_observations]
        if isinstance(self.observations, dict):
            return {key: np.stack([final[key] for final in finals]) for key in self.observations}
        return np.stack(finals)

    def _observation_arrays(self) -> list[NDArray[Any]]:
        stored = self.observations
        return list(stored.values()) if isinstance(stored, dict) else [stored]


def _flatten(rows: NDArray[Any], first: int, length: int) -> NDArray[Any]:
    return rows[first : first + length].reshape(length * rows.shape[1], *rows.shape[2:])
