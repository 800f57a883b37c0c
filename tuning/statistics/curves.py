"""What a learning curve says in one number, and how curves of different runs come onto common steps."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tuning.statistics.point import FloatArray, median


def area_under_curve(steps: ArrayLike, values: ArrayLike) -> float:
    """Area under a learning curve divided by its length in steps: the mean return along training.

    Trapezoidal rule between the evaluations, from the first to the last one; so it has the unit of the return and
    does not grow with the budget.

    Args:
        steps: [n], strictly increasing environment steps of the evaluations.
        values: [n], return at each of them.

    Returns:
        The normalized area; NaN for fewer than two evaluations, which span no steps.

    Raises:
        ValueError: steps do not increase.
    """
    at, height = _curve(steps, values)
    if len(at) < 2:
        return float("nan")
    return float(np.trapezoid(height, at) / (at[-1] - at[0]))


def first_reaching(positions: ArrayLike, values: ArrayLike, threshold: float) -> float:
    """Where a curve first reaches a threshold: the position of the first evaluation with value >= threshold.

    No interpolation: between two evaluations nobody knows.

    Args:
        positions: [n], steps or seconds of the evaluations, increasing.
        values: [n], return at each of them.
        threshold: the value to reach; NaN is never reached.

    Returns:
        A position, or NaN for a censored curve: one that ends before it reaches the threshold.
    """
    reached = np.flatnonzero(np.asarray(values, dtype=np.float64) >= threshold)
    return float(np.asarray(positions, dtype=np.float64)[reached[0]]) if len(reached) else float("nan")


def censored_median(positions: ArrayLike) -> float:
    """Median of `first_reaching` over runs, a censored run counting as later than every other.

    The mean over the runs that arrived would look the better the more runs fail to arrive.

    Args:
        positions: [n], NaN for a censored run.

    Returns:
        The median; NaN unless it is a known position, which takes more than half of the runs.
    """
    values = np.asarray(positions, dtype=np.float64)
    middle = float(median(np.where(np.isnan(values), np.inf, values)))
    return middle if np.isfinite(middle) else float("nan")


def common_grid(positions: Sequence[ArrayLike]) -> FloatArray:
    """Positions on which the curves of several runs can be compared: where every run has data.

    Args:
        positions: one increasing array [n_i] a run: steps, or seconds, of its evaluations; n_i > 0.

    Returns:
        The runs' own positions where they agree. Otherwise evenly spaced ones, as many as the run with most
        evaluations has, from the latest first to the earliest last evaluation (empty where these do not overlap).
    """
    arrays = [np.asarray(one, dtype=np.float64) for one in positions]
    first = arrays[0]
    if all(np.array_equal(first, other) for other in arrays[1:]):
        return first
    low, high = max(one[0] for one in arrays), min(one[-1] for one in arrays)
    if low > high:
        return np.empty(0)
    return np.linspace(low, high, max(len(one) for one in arrays)) if low < high else np.array([low])


def interpolate(positions: ArrayLike, values: ArrayLike, grid: ArrayLike) -> FloatArray:
    """A curve's values on a grid inside its range, linear between its evaluations.

    Args:
        positions: [n], strictly increasing.
        values: [n].
        grid: [n_points], within the first and the last position.

    Returns:
        [n_points].

    Raises:
        ValueError: positions do not increase, or the grid leaves their range (nothing is extrapolated).
    """
    at, height = _curve(positions, values)
    wanted = np.asarray(grid, dtype=np.float64)
    if wanted.size and (wanted.min() < at[0] or wanted.max() > at[-1]):
        raise ValueError(
            f"The grid runs from {wanted.min():g} to {wanted.max():g}, but the curve is known from {at[0]:g} to "
            f"{at[-1]:g} only; take the grid from common_grid."
        )
    return np.interp(wanted, at, height)


def _curve(positions: ArrayLike, values: ArrayLike) -> tuple[FloatArray, FloatArray]:
    at, height = np.asarray(positions, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if np.any(np.diff(at) <= 0.0):
        raise ValueError(f"positions={at.tolist()}, but they must strictly increase; sort the evaluations by step.")
    return at, height
