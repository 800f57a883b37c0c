"""`NormalizeAction` for SB3's vector environments, also for those whose single environments are out of reach."""

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from wrappers.action_scale import ActionScale


class VecNormalizeAction(VecEnvWrapper):
    """Takes actions in [-1, 1] and gives the environments actions in their own bounds.

    Args:
        venv: environments whose actions are a Box with finite bounds.
        clip: whether actions outside [-1, 1] are moved to the nearest action inside.

    Raises:
        ValueError: the actions are no such Box.
    """

    def __init__(self, venv: VecEnv, clip: bool = True) -> None:
        self._scale = ActionScale(venv.action_space, clip)
        super().__init__(venv, action_space=self._scale.space)

    def reset(self) -> VecEnvObs:
        """Reset all environments."""
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        """Send actions [n, *shape] in [-1, 1]."""
        self.venv.step_async(self._scale(actions))

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step."""
        return self.venv.step_wait()
