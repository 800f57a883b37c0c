"""Returns and advantages of one segment of experience.

Mnih et al. (2016), Algorithm S3, gives each state the longest return that ends where the segment ends; generalized
advantage estimation (Schulman et al., 2016, eq. 16) contains it as ``gae_lambda = 1``.

``terminated`` cuts the return (nothing follows), ``truncated`` bootstraps from the value of the observation that was
seen *before* the reset: an episode that a time limit ended would have gone on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def _check_discounts(gamma: float, gae_lambda: float) -> None:
    for name, value in (("gamma", gamma), ("gae_lambda", gae_lambda)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}={value}, but it must lie in [0, 1]; for 99 % write 0.99.")


def generalized_advantages(
    rewards: ArrayLike,
    values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    truncation_values: ArrayLike,
    last_values: ArrayLike,
    gamma: float,
    gae_lambda: float = 1.0,
) -> tuple[FloatArray, FloatArray]:
    """Advantages and value targets of a segment of T steps in N environments.

    With V'[t] the value of what follows step t (0 after termination, ``truncation_values[t]`` after truncation,
    ``last_values`` at the segment's end, else ``values[t + 1]``)::

        delta[t] = rewards[t] + gamma * V'[t] - values[t]
        A[t]     = delta[t] + gamma * gae_lambda * A[t + 1]      A[t + 1] is 0 where an episode ended at t
        R[t]     = A[t] + values[t]                              for gae_lambda = 1 the n-step return

    Args:
        rewards: (T, N), for the action taken at step t.
        values: (T, N), V of the observation in which that action was taken.
        terminated: (T, N) bool, the episode reached a terminal state.
        truncated: (T, N) bool, the episode was cut off; ignored where ``terminated`` holds.
        truncation_values: (T, N), V of the final observation before the reset; read at truncated steps only.
        last_values: (N,), V of the observation after the last step; not read where an episode ended there.
        gamma: discount per environment step, in [0, 1].
        gae_lambda: trace decay of the estimator, in [0, 1]; 1 is A3C's longest return.

    Returns:
        advantages and returns, both (T, N) in float64.

    Raises:
        ValueError: gamma or gae_lambda lies outside [0, 1].
    """
    _check_discounts(gamma, gae_lambda)
    rewards = np.asarray(rewards, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    ended = np.asarray(terminated, dtype=bool) | np.asarray(truncated, dtype=bool)
    next_values = np.empty_like(values)
    next_values[:-1] = values[1:]
    next_values[-1] = last_values
    next_values = np.where(truncated, truncation_values, next_values)
    next_values = np.where(terminated, 0.0, next_values)
    deltas = rewards + gamma * next_values - values
    decay = gamma * gae_lambda * ~ended
    advantages = np.empty_like(values)
    following = np.zeros(values.shape[1:])
    for t in range(len(rewards) - 1, -1, -1):
        advantages[t] = following = deltas[t] + decay[t] * following
    return advantages, advantages + values


def generalized_advantages_of_one(
    rewards: Sequence[float],
    values: Sequence[float],
    value_of_what_follows: float,
    gamma: float,
    gae_lambda: float = 1.0,
) -> tuple[list[float], list[float]]:
    """:func:`generalized_advantages` for one environment and no episode end before the last step.

    The same recursion on Python floats: with one environment a worker a segment never spans two episodes, and for five
    steps the array version spends its time in NumPy's calls.

    Args:
        rewards: T numbers.
        values: T numbers.
        value_of_what_follows: 0 after termination, else V of the final observation (before any reset).
        gamma: discount per environment step; checked by the caller, once.
        gae_lambda: trace decay, checked by the caller, once.

    Returns:
        advantages and returns, T numbers each.
    """
    advantages = [0.0] * len(rewards)
    returns = [0.0] * len(rewards)
    decay = gamma * gae_lambda
    following = 0.0
    next_value = value_of_what_follows
    for t in range(len(rewards) - 1, -1, -1):
        value = values[t]
        following = rewards[t] + gamma * next_value - value + decay * following
        advantages[t] = following
        returns[t] = following + value
        next_value = value
    return advantages, returns


def n_step_returns(
    rewards: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    truncation_values: ArrayLike,
    last_values: ArrayLike,
    gamma: float,
) -> FloatArray:
    """Longest return of each step: R[t] = rewards[t] + gamma * R[t + 1] (Mnih et al. 2016, Algorithms S2 and S3).

    R[t + 1] is 0 after termination, ``truncation_values[t]`` after truncation and ``last_values`` at the segment's end.

    Args:
        rewards: (T, N).
        terminated: (T, N) bool.
        truncated: (T, N) bool, ignored where ``terminated`` holds.
        truncation_values: (T, N), value of the final observation; read at truncated steps only.
        last_values: (N,), value of the observation after the last step.
        gamma: discount per environment step, in [0, 1].

    Returns:
        (T, N) in float64.

    Raises:
        ValueError: gamma lies outside [0, 1].
    """
    zeros = np.zeros(np.shape(rewards))
    _, returns = generalized_advantages(
        rewards, zeros, terminated, truncated, truncation_values, last_values, gamma, gae_lambda=1.0
    )
    return returns
