"""Retrace(lambda) action-value targets: Munos, Stepleton, Harutyunyan and Bellemare (2016)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def retrace_targets(
    next_action_values: ArrayLike,
    next_values: ArrayLike,
    rewards: ArrayLike,
    ratios: ArrayLike,
    terminated: ArrayLike,
    cut: ArrayLike,
    gamma: float,
    trace_decay: float = 1.0,
    c_bar: float = 1.0,
) -> NDArray[np.float64]:
    """Targets of a segment of T consecutive steps, as Wang et al. (2017, "ACER", equation 5) write the recursion.

    With V'_t = next_values[t] = sum_a pi(a|s_{t+1}) Q(s_{t+1}, a), 0 after termination, and
    Q'_t = next_action_values[t] = Q(s_{t+1}, a_{t+1})::

        R_t = r_t + gamma (V'_t + c_{t+1} (R_{t+1} - Q'_t))            c_t = lambda min(c_bar, pi/mu)

    The bracket's second part counts as 0 behind a termination, a cut and the segment's end; one step is expected Sarsa,
    which needs no ratio.

    Args:
        next_action_values: [T, ...] Q of the next step's observation and action, by the network that gave
            ``next_values``: of two networks the values would mix. Not read where step t + 1 does not follow step t.
        next_values: [T, ...] expected value under pi of the observation that followed, seen before any reset; may be a
            target network's.
        rewards, ratios, terminated, cut, gamma, trace_decay, c_bar: as in ``vtrace_targets``.

    Returns:
        R, [T, ...].
    """
    ahead, reward, ratio = (np.asarray(array, dtype=np.float64) for array in (next_action_values, rewards, ratios))
    ended = np.asarray(terminated, dtype=bool)
    following = np.where(ended, 0.0, np.asarray(next_values, dtype=np.float64))
    stop = ended | np.asarray(cut, dtype=bool)
    trace = trace_decay * np.minimum(ratio, c_bar)
    targets = reward + gamma * following
    for step in reversed(range(len(reward) - 1)):
        carried = trace[step + 1] * (targets[step + 1] - ahead[step])
        targets[step] += gamma * np.where(stop[step], 0.0, carried)
    return targets
