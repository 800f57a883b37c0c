"""V-trace value targets: Espeholt et al. (2018), "IMPALA", equation 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def vtrace_targets(
    values: ArrayLike,
    next_values: ArrayLike,
    rewards: ArrayLike,
    ratios: ArrayLike,
    terminated: ArrayLike,
    cut: ArrayLike,
    gamma: float,
    trace_decay: float = 1.0,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[FloatArray, FloatArray]:
    """Targets v_t of a segment of T consecutive steps, and the advantages for the policy gradient.

    With V'_t = next_values[t], 0 after termination::

        delta_t = rho_t (r_t + gamma V'_t - V_t)                       rho_t = min(rho_bar, pi/mu)
        v_t     = V_t + delta_t + gamma c_t (v_{t+1} - V_{t+1})        c_t = lambda min(c_bar, pi/mu)
        A_t     = r_t + gamma v_{t+1} - V_t                            to be weighted by rho_t

    v_{t+1} - V_{t+1} counts as 0 behind a termination, a cut and the segment's end.

    Args:
        values: [T, ...] V of the observation at step t.
        next_values: [T, ...] V of the observation that followed, seen before any reset.
        rewards: [T, ...].
        ratios: [T, ...] untruncated pi(a|s) / mu(a|s).
        terminated: [T, ...] bool, nothing follows step t.
        cut: [T, ...] bool, step t + 1 of the arrays does not follow step t (truncation, end of the data).
        gamma: discount per step.
        trace_decay: lambda.
        rho_bar, c_bar: truncation levels.

    Returns:
        v and A, both [T, ...].
    """
    value, reward, ratio = (np.asarray(array, dtype=np.float64) for array in (values, rewards, ratios))
    ended = np.asarray(terminated, dtype=bool)
    following = np.where(ended, 0.0, np.asarray(next_values, dtype=np.float64))
    stop = ended | np.asarray(cut, dtype=bool)
    deltas = np.minimum(ratio, rho_bar) * (reward + gamma * following - value)
    trace = gamma * trace_decay * np.minimum(ratio, c_bar)
    corrections = np.empty_like(deltas)
    next_correction = np.zeros_like(deltas)
    carried = np.zeros_like(deltas[0])
    for step in reversed(range(len(deltas))):
        next_correction[step] = np.where(stop[step], 0.0, carried)
        carried = corrections[step] = deltas[step] + trace[step] * next_correction[step]
    advantages = reward + gamma * (following + next_correction) - value
    return value + corrections, advantages
