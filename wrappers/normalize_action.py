"""Actions of one environment declared as [-1, 1], which is what Gaussian policies and their initial noise expect."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from wrappers.action_scale import ActionScale


class NormalizeAction(gym.ActionWrapper[Any, Any, Any], RecordConstructorArgs):
    """Takes actions in [-1, 1] and gives the environment actions in its own bounds.

    Args:
        env: an environment whose actions are a Box with finite bounds.
        clip: whether actions outside [-1, 1] are moved to the nearest action inside.

    Raises:
        ValueError: the actions are no such Box.
    """

    def __init__(self, env: gym.Env[Any, Any], clip: bool = True) -> None:
        RecordConstructorArgs.__init__(self, clip=clip)
        super().__init__(env)
        self._scale = ActionScale(env.action_space, clip)
        self.action_space = self._scale.space

    def action(self, action: Any) -> np.ndarray:
        """The environment's action for one in [-1, 1]."""
        return self._scale(action)
