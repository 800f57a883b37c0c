"""Percentile bootstrap intervals over runs, stratified by environment.

Agarwal et al. (2021), section 4.2: resample the runs of each environment with replacement, separately, so that every
resample has as many runs of each environment as the experiment; take the statistic of every resample; the interval
reaches from the 2.5 % to the 97.5 % percentile. With fewer than about 10 runs such intervals are too short: three
runs give 10 different resamples. That is why n is printed beside every interval.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tuning.statistics.point import FloatArray

#: Enough that the ends of an interval move by less than 1 % of its length from seed to seed.
N_RESAMPLES = 10_000
CONFIDENCE = 0.95

Rng = np.random.Generator | int


class Interval(NamedTuple):
    """A bootstrap interval and the number of runs behind it.

    Attributes:
        low: lower end; NaN if one stratum has fewer than two runs.
        high: upper end; NaN if one stratum has fewer than two runs.
        n: number of runs, all strata together.
    """

    low: float
    high: float
    n: int


def interval(
    scores: ArrayLike,
    statistic: Callable[[FloatArray], FloatArray],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    rng: Rng = 0,
) -> Interval:
    """Bootstrap interval of a statistic of one environment's runs.

    Args:
        scores: [n], one score a run.
        statistic: maps [..., n] to [...], such as `iqm`.
        confidence: share of the resamples inside the interval, in (0, 1).
        n_resamples: number of resamples, at least 1.
        rng: a Generator, which is advanced, or a seed.

    Returns:
        The interval; its ends are NaN if n < 2, because one run tells nothing about the spread between runs.

    Raises:
        ValueError: `confidence` or `n_resamples` is out of range.
    """
    return stratified_interval(
        [scores],
        lambda strata: statistic(strata[0]),
        confidence=confidence,
        n_resamples=n_resamples,
        rng=rng,
    )


def stratified_interval(
    strata: Sequence[ArrayLike],
    statistic: Callable[[Sequence[FloatArray]], FloatArray],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    rng: Rng = 0,
) -> Interval:
    """Bootstrap interval of a statistic of several environments' runs; runs are resampled within their environment.

    Args:
        strata: one array [n_k] an environment; lengths may differ.
        statistic: maps a list of arrays [..., n_k] to [...].
        confidence: share of the resamples inside the interval, in (0, 1).
        n_resamples: number of resamples, at least 1.
        rng: a Generator, which is advanced, or a seed.

    Returns:
        The interval; its ends are NaN if any environment has fewer than two runs.

    Raises:
        ValueError: `confidence` or `n_resamples` is out of range.
    """
    tails = _tails(confidence, n_resamples)
    generator = np.random.default_rng(rng)
    scores = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    n = sum(len(stratum) for stratum in scores)
    if not scores or min(len(stratum) for stratum in scores) < 2:
        return Interval(np.nan, np.nan, n)
    resampled = [stratum[_draw(len(stratum), n_resamples, generator)] for stratum in scores]
    low, high = np.quantile(statistic(resampled), tails)
    return Interval(float(low), float(high), n)


def band(
    curves: ArrayLike,
    statistic: Callable[[FloatArray], FloatArray],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    rng: Rng = 0,
) -> tuple[FloatArray, FloatArray]:
    """Pointwise bootstrap band of learning curves; whole runs are resampled, the same ones at every point.

    Args:
        curves: [n, n_points], one row a run, on common steps.
        statistic: maps [..., n] to [...].
        confidence: share of the resamples inside the band at each point, in (0, 1).
        n_resamples: number of resamples, at least 1.
        rng: a Generator, which is advanced, or a seed.

    Returns:
        Lower and upper edge, [n_points] each; NaN if n < 2.

    Raises:
        ValueError: `confidence` or `n_resamples` is out of range.
    """
    tails = _tails(confidence, n_resamples)
    values = np.asarray(curves, dtype=np.float64)
    n, n_points = values.shape
    if n < 2:
        return np.full(n_points, np.nan), np.full(n_points, np.nan)
    drawn = _draw(n, n_resamples, np.random.default_rng(rng))
    # point by point: all points at once would take n_resamples * n * n_points numbers
    edges = np.array([np.quantile(statistic(column[drawn]), tails) for column in values.T]).reshape(n_points, 2)
    return edges[:, 0], edges[:, 1]


def _draw(n: int, n_resamples: int, generator: np.random.Generator) -> np.ndarray:
    return generator.integers(0, n, size=(n_resamples, n))


def _tails(confidence: float, n_resamples: int) -> tuple[float, float]:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence}, but it must lie between 0 and 1; for 95 % write 0.95.")
    if n_resamples < 1:
        raise ValueError(f"n_resamples={n_resamples}, but at least 1 is needed; {N_RESAMPLES} is usual.")
    return (1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0
