"""An episode's last observation as the environment gave it, which a normalization replaces by its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class KeepsFinalObservations(VecEnvWrapper):
    """Keeps what it passes on; put beneath the normalization for as long as somebody asks.

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
