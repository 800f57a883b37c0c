"""CartPole whose velocities are not shown: one observation does not tell what to do, a memory of a few does."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from numpy.typing import NDArray

_SHOWN = [0, 2]  # the cart's position and the pole's angle


class MaskedCartPole(CartPoleEnv):
    """Gymnasium's CartPole, observed as (cart position in metres, pole angle in radians).

    Dynamics, rewards (1 a step) and termination are CartPole-v1's; only the two velocities are left out. The usual test
    of recurrent policies: without memory the direction in which the pole falls is unknown.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        full = self.observation_space
        assert isinstance(full, spaces.Box)
        self.observation_space = spaces.Box(full.low[_SHOWN], full.high[_SHOWN], dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation[_SHOWN], info

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step of 0.02 s."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation[_SHOWN], float(reward), terminated, truncated, info
