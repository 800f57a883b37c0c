"""Probability of improvement: how likely a run of X scores higher than a run of Y.

Agarwal et al. (2021), section 4.3: P(X > Y) over all pairs of runs, ties counting half (the Mann-Whitney U statistic
divided by the number of pairs), averaged over environments. It asks only which of two scores in the same environment
is higher, so environments with different reward scales may be averaged without normalization.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tuning.statistics.bootstrap import CONFIDENCE, N_RESAMPLES, Interval, Rng, stratified_interval
from tuning.statistics.point import FloatArray

Pair = tuple[ArrayLike, ArrayLike]


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(X > Y) + P(X = Y) / 2 in one environment.

    Args:
        x: [n], scores of X's runs.
        y: [m], scores of Y's runs.

    Returns:
        In [0, 1]; 0.5 means neither is better. NaN if either has no run or a score is NaN.
    """
    wins = _wins(x, y)
    return float(np.mean(wins)) if wins.size else float("nan")


def average_probability_of_improvement(pairs: Sequence[Pair]) -> float:
    """Mean of `probability_of_improvement` over environments.

    Args:
        pairs: (scores of X's runs, scores of Y's runs), one pair an environment.

    Returns:
        In [0, 1]; NaN if there is no environment or one of them gives NaN.
    """
    return float(np.mean([probability_of_improvement(x, y) for x, y in pairs])) if pairs else float("nan")


def improvement_interval(
    pairs: Sequence[Pair],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    rng: Rng = 0,
) -> Interval:
    """Stratified bootstrap interval of `average_probability_of_improvement`.

    Runs of X and runs of Y are resampled separately in every environment.

    Args:
        pairs: (scores of X's runs, scores of Y's runs), one pair an environment.
        confidence: share of the resamples inside the interval, in (0, 1).
        n_resamples: number of resamples, at least 1.
        rng: a Generator, which is advanced, or a seed.

    Returns:
        The interval, n counting the runs of both sides; NaN if a side has fewer than two runs in some environment.

    Raises:
        ValueError: `confidence` or `n_resamples` is out of range.
    """
    wins = [_wins(x, y) for x, y in pairs]

    # What is resampled are the indices of runs: a resample's probability is then a quadratic form of the fixed
    # matrix of wins with the numbers of times each run was drawn, n + m numbers a resample instead of n * m.
    def statistic(strata: Sequence[FloatArray]) -> FloatArray:
        sides = zip(strata[::2], strata[1::2], wins, strict=True)
        each = [
            np.einsum("bi,ij,bj->b", _shares(x, len(won)), won, _shares(y, won.shape[1]), optimize=True)
            for x, y, won in sides
        ]
        return np.mean(each, axis=0)

    indices = [np.arange(side) for won in wins for side in won.shape]
    return stratified_interval(indices, statistic, confidence=confidence, n_resamples=n_resamples, rng=rng)


def _wins(x: ArrayLike, y: ArrayLike) -> FloatArray:
    """[n, m]: 1 where x's run scores higher than y's, 0.5 where equal, 0 where lower, NaN where either is NaN."""
    rows, columns = np.asarray(x, dtype=np.float64)[:, None], np.asarray(y, dtype=np.float64)[None, :]
    return np.where(np.isnan(rows) | np.isnan(columns), np.nan, (rows > columns) + 0.5 * (rows == columns))


def _shares(drawn: FloatArray, n: int) -> FloatArray:
    """[n_resamples, n]: the share of each run in each resample, from the indices drawn [n_resamples, n]."""
    offsets = np.arange(len(drawn))[:, None] * n
    counts = np.bincount((drawn.astype(np.intp) + offsets).ravel(), minlength=len(drawn) * n)
    return counts.reshape(len(drawn), n) / n
