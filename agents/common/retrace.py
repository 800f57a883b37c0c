"""Retrace(lambda) action-value targets: Munos, Stepleton, Harutyunyan and Bellemare (2016)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def retrace_targets(
    action_values: ArrayLike,
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

    With V'_t = next_values[t] = sum_a pi(a|s_{t+1}) Q(s_{t+1}, a), 0 after termination::

        R_t = r_t + gamma (V'_t + c_{t+1} (R_{t+1} - Q_{t+1}))         c_t = lambda min(c_bar, pi/mu)

    The bracket's second part counts as 0 behind a termination, a cut and the segment's end; one step is expected Sarsa,
    which needs no ratio.

    Args:
        action_values: [T, ...] Q of the observation and action at step t.
        next_values: [T, ...] expected value under pi of the observation that followed, seen before any reset.
        rewards, ratios, terminated, cut, gamma, trace_decay, c_bar: as in ``vtrace_targets``.

    Returns:
        R, [T, ...].
    """
    taken, reward, ratio = (np.asarray(array, dtype=np.float64) for array in (action_values, rewards, ratios))
    ended = np.asarray(terminated, dtype=bool)
    following = np.where(ended, 0.0, np.asarray(next_values, dtype=np.float64))
    stop = ended | np.asarray(cut, dtype=bool)
    trace = trace_decay * np.minimum(ratio, c_bar)
    targets = np.empty_like(reward)
    carried = np.zeros_like(reward[0])
    for step in reversed(range(len(reward))):
        targets[step] = reward[step] + gamma * (following[step] + np.where(stop[step], 0.0, carried))
        carried = trace[step] * (targets[step] - taken[step])
    return targets
