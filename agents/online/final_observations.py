"""An episode's last observation, in whose place a vector environment shows the next episode's first one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class KeepsFinalObservations(VecEnvWrapper):
    """Keeps last observations as the environment gave them, as a normalization replaces them by its own.

    Put beneath the normalization for as long as somebody asks.

    Args:
        venv: what the normalization wraps.
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.kept: dict[int, Any] = {}
        """Last observations of the environments whose episodes ended in the latest step."""

    def reset(self) -> VecEnvObs:
        """Begin anew."""
        self.kept = {}
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Pass a step on."""
        observations, rewards, dones, infos = self.venv.step_wait()
        ended = [i for i in np.flatnonzero(dones).tolist() if "terminal_observation" in infos[i]]
        self.kept = {i: infos[i]["terminal_observation"] for i in ended}
        return observations, rewards, dones, infos


def final_observations(new_obs: Any, dones: NDArray, infos: list[dict[str, Any]]) -> Any:
    """s' of n transitions: ``new_obs``, but behind an episode's end its last observation and not the next one's first.

    Args:
        new_obs: [n, ...] or a dictionary of such arrays; returned as it is where no episode ended.
        dones: [n].
        infos: n; those of ended episodes hold ``terminal_observation``.
    """
    ended = np.flatnonzero(dones).tolist()
    if not ended:
        return new_obs
    if isinstance(new_obs, dict):
        final = {key: value.copy() for key, value in new_obs.items()}
        for i in ended:
            for key, value in infos[i]["terminal_observation"].items():
                final[key][i] = value
        return final
    final = new_obs.copy()
    for i in ended:
        final[i] = infos[i]["terminal_observation"]
    return final
