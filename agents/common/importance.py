"""Importance ratios rho = pi(a|s) / b(a|s): their statistics, and what a behavior's probabilities must satisfy."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

NEGLIGIBLE = 1e-6
"""A step with a ratio below this changes nothing; the mean of all ratios is 1."""


class RatioStatistics:
    """Running statistics of importance ratios since the last ``clear``, and a call once too many count for nothing.

    The effective sample size of n samples, (sum rho)^2 / sum rho^2 (Kong, 1992), says how many samples drawn from the
    target policy itself would carry as much: n when b = pi, 1 when one ratio outweighs all the others.

    Args:
        patience: how many ratios in a row may be negligible; ``clear`` does not interrupt the row.
        when_idle: called as soon as there are so many, once for each such row.
    """

    __slots__ = ("_idle", "_patience", "_when_idle", "count", "largest", "sum", "sum_of_squares")

    def __init__(self, patience: int = sys.maxsize, when_idle: Callable[[], object] = lambda: None) -> None:
        self._patience = patience
        self._when_idle = when_idle
        self.restart()

    def restart(self) -> None:
        """Forget everything, also how long ratios have been negligible."""
        self._idle = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything but for how long ratios have been negligible."""
        self.count = 0
        self.sum = 0.0
        self.sum_of_squares = 0.0
        self.largest = 0.0

    def add(self, rho: float) -> None:
        """Count one ratio."""
        self.count += 1
        self.sum += rho
        self.sum_of_squares += rho * rho
        if rho > self.largest:
            self.largest = rho
        if rho < NEGLIGIBLE:
            self._idle += 1
            if self._idle == self._patience:
                self._when_idle()
        elif self._idle:
            self._idle = 0

    def extend(self, ratios: ArrayLike) -> None:
        """Count many ratios at once."""
        values = np.asarray(ratios, dtype=np.float64).ravel()
        if values.size:
            self.count += values.size
            self.sum += float(values.sum())
            self.sum_of_squares += float(values @ values)
            self.largest = max(self.largest, float(values.max()))
            self._extend_row(np.flatnonzero(~(values < NEGLIGIBLE)), values.size)

    def _extend_row(self, counting: NDArray[np.intp], size: int) -> None:
        """Go on with the row of negligible ratios.

        Args:
            counting: where those are, in order, that are not negligible.
            size: how many ratios there are.
        """
        first = int(counting[0]) if counting.size else size
        became = int(self._idle < self._patience <= self._idle + first)
        if counting.size:
            self._idle = size - 1 - int(counting[-1])
            became += int(np.count_nonzero(np.diff(counting) > self._patience)) + int(self._idle >= self._patience)
        else:
            self._idle += size
        for _ in range(became):
            self._when_idle()

    @property
    def mean(self) -> float:
        """Average ratio, 1 in expectation; NaN before the first."""
        return self.sum / self.count if self.count else math.nan

    @property
    def effective_sample_size(self) -> float:
        """As a share of the samples, in (0, 1]; 0 where every ratio was 0, NaN before the first."""
        if not self.count:
            return math.nan
        if self.sum_of_squares == 0.0:
            return 0.0
        return self.sum * self.sum / self.sum_of_squares / self.count


def sample_index(probabilities: Sequence[float], uniform: float) -> int:
    """Index drawn from a discrete distribution by inverting its cumulative sum.

    Args:
        probabilities: at least one, adding up to 1 but for rounding.
        uniform: a uniform number in [0, 1).

    Returns:
        The first index whose cumulative probability exceeds ``uniform``; never one of probability 0.
    """
    cumulative = 0.0
    chosen = 0
    for index, probability in enumerate(probabilities):
        if probability > 0.0:
            cumulative += probability
            chosen = index
            if uniform < cumulative:
                break
    return chosen


def checked_probabilities(given: ArrayLike, n_observations: int, n_actions: int, source: str) -> NDArray[np.float64]:
    """Action probabilities of a behavior policy as a float64 matrix, or an error that says what is wrong with them.

    Args:
        given: what the behavior policy returned.
        n_observations, n_actions: the shape it must have.
        source: how to call the behavior policy in the error.

    Raises:
        TypeError: something that is no array of numbers.
        ValueError: wrong shape, NaN or infinity, a negative probability, or a row that does not add up to 1 (within
            1e-4, what float32 needs). Names the observation's index.
    """
    try:
        probabilities = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{source} returned {type(given).__name__}, but for Discrete actions it must return an array of "
            f"probabilities, ({n_observations}, {n_actions}) here; of a distribution return its probs."
        ) from error
    if probabilities.shape != (n_observations, n_actions):
        raise ValueError(
            f"{source} returned probabilities of shape {probabilities.shape}"
            f"{_misfit(probabilities.shape, n_observations, n_actions)}, but {n_observations} observation(s) and "
            f"{n_actions} actions need ({n_observations}, {n_actions}); return one row for each observation, index 0 "
            "first, with one probability for each action."
        )
    for index, row in enumerate(probabilities.tolist()):
        total = sum(row)
        if math.isfinite(total) and abs(total - 1.0) <= 1e-4 and min(row) >= 0.0:
            continue
        if not all(math.isfinite(value) for value in row):
            wrong = "NaN or infinity is among them"
        elif min(row) < 0.0:
            wrong = "one is negative"
        else:
            wrong = f"they add up to {total:g}"
        raise ValueError(
            f"{source} returned the probabilities {row} for the observation at index {index}: {wrong}, but they "
            f"must be finite, "
            "not negative and add up to 1; correct the policy or normalize its output."
        )
    return probabilities


def _misfit(shape: tuple[int, ...], n_observations: int, n_actions: int) -> str:
    """Where a matrix of probabilities does not fit; nothing where it is no matrix."""
    if len(shape) != 2:
        return ""
    if shape[1] != n_actions:
        return f": the observation at index 0 has {shape[1]} probabilities for {n_actions} actions"
    if shape[0] < n_observations:
        return f": the observation at index {shape[0]} has none"
    return f": {shape[0] - n_observations} row(s) too many"


def check_support(behavior: ArrayLike, target: ArrayLike, source: str) -> None:
    """Refuse a behavior that never takes an action which the target policy may take.

    Such actions would never be seen, and no importance ratio can make up for it.

    Args:
        behavior, target: [n, n_actions] probabilities.
        source: how to call the behavior policy in the error.

    Raises:
        ValueError: names the observation's index and the action.
    """
    behavior_rows = np.asarray(behavior)
    missing = (behavior_rows <= 0.0) & (np.asarray(target) > 0.0)
    if missing.any():
        index, action = (int(position) for position in np.argwhere(missing)[0])
        raise ValueError(
            f"{source} gives action {action} probability 0 for the observation at index {index}, where the target "
            f"policy "
            f"gives it {np.asarray(target)[index, action]:g}; every action the target policy may take needs a positive "
            "probability: mix in a little of the uniform policy."
        )
