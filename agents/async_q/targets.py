"""What the three value methods learn towards; all else they share.

Mnih et al. (2016), section 4.1 to 4.3. Values of what follows come from the target network, and are 0 after
termination; after truncation they are those of the final observation, before the reset.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.common.returns import n_step_returns


def one_step_targets(
    rewards: ArrayLike, next_values: ArrayLike, terminated: ArrayLike, gamma: float
) -> NDArray[np.float64]:
    """y[t] = r[t], or r[t] + gamma * next_values[t] unless step t terminated.

    One-step Q-learning (Algorithm 1) puts max_a Q(s[t+1], a; theta-) for next_values[t]; one-step Sarsa puts
    Q(s[t+1], a[t+1]; theta-) with the action that is then taken.

    Args:
        rewards: (T, N).
        next_values: (T, N), of the observation that followed step t, before any reset.
        terminated: (T, N) bool.
        gamma: discount per environment step.

    Returns:
        (T, N).
    """
    alive = ~np.asarray(terminated, dtype=bool)
    return np.asarray(rewards, dtype=np.float64) + gamma * alive * np.asarray(next_values, dtype=np.float64)


def n_step_targets(
    rewards: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    gamma: float,
) -> NDArray[np.float64]:
    """R[t] = r[t] + gamma * R[t + 1], beginning with max_a Q(s, a; theta-) where the segment ends (Algorithm S2).

    Args:
        rewards: (T, N).
        next_values: (T, N), max_a Q of the observation that followed step t, before any reset; read at truncated steps
            and in the last row only.
        terminated: (T, N) bool.
        truncated: (T, N) bool.
        gamma: discount per environment step.

    Returns:
        (T, N).
    """
    next_values = np.asarray(next_values, dtype=np.float64)
    return n_step_returns(rewards, terminated, truncated, next_values, next_values[-1], gamma)
