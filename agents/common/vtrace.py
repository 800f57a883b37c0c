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
        v_t     = V_t + delta_t + gamma c_t (v_{t+1} - V'_t)           c_t = lambda min(c_bar, pi/mu)
        A_t     = r_t + gamma v_{t+1} - V_t                            to be weighted by rho_t

    Behind a termination, a cut and the segment's end v_{t+1} is V'_t. The paper's V(x_{t+1}) is V'_t in both places:
    where a target network gives it, what delta_t added has to be what the trace takes away, or the values of the two
    networks mix and on-policy targets are no n-step returns.

    Args:
        values: [T, ...] V of the observation at step t, from the network that learns.
        next_values: [T, ...] V of the observation that followed, seen before any reset; may be a target network's.
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
    targets, next_targets = value + deltas, following.copy()
    for step in reversed(range(len(deltas) - 1)):
        next_targets[step] = np.where(stop[step], following[step], targets[step + 1])
        targets[step] += trace[step] * (next_targets[step] - following[step])
    return targets, reward + gamma * next_targets - value
