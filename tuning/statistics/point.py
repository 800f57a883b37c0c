"""Point estimates over runs; the last axis is the run, leading axes (resamples, steps) are kept.

The weighted forms serve aggregates over environments in which a run is missing: each environment keeps the same
weight, instead of counting less because one of its runs failed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def mean(scores: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Arithmetic mean over the last axis.

    Args:
        scores: [..., n], one score a run.
        weights: [n], how much each run counts; equal when None.

    Returns:
        [...], NaN where n = 0 or a score is NaN.
    """
    values = _floats(scores)
    if values.shape[-1] == 0:
        return _nothing(values)
    return np.asarray(np.average(values, axis=-1, weights=None if weights is None else np.asarray(weights)))


def std(scores: ArrayLike) -> FloatArray:
    """Sample standard deviation over runs (n - 1 in the denominator).

    Args:
        scores: [..., n].

    Returns:
        [...], NaN where n < 2: one run says nothing about the spread between runs.
    """
    values = _floats(scores)
    if values.shape[-1] < 2:
        return _nothing(values)
    return np.asarray(np.std(values, axis=-1, ddof=1))


def median(scores: ArrayLike) -> FloatArray:
    """Median over runs; the mean of the two middle scores where n is even.

    Args:
        scores: [..., n].

    Returns:
        [...], NaN where n = 0 or a score is NaN.
    """
    values = _floats(scores)
    if values.shape[-1] == 0:
        return _nothing(values)
    return np.asarray(np.median(values, axis=-1))


def iqm(scores: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Interquartile mean: the mean of the scores that remain when the lowest and the highest quarter are cut.

    Agarwal et al. (2021), section 4.3, by the definition their tables were made with (`scipy.stats.trim_mean` at 25 %):
    floor(n / 4) scores are cut at either end. Where 4 does not divide n less than a quarter goes: n = 5 keeps the
    middle 3, n = 10 the middle 6, and up to n = 3 nothing is cut and the IQM is the mean.

    Args:
        scores: [..., n].
        weights: [n], how much each run counts; equal when None. With weights the share floor(n / 4) / n of the total
            weight is cut at either end, a run on the edge counting in part.

    Returns:
        [...], NaN where n = 0 or a score is NaN.
    """
    values = _floats(scores)
    n = values.shape[-1]
    if n == 0:
        return _nothing(values)
    n_cut = n // 4
    if weights is None:
        kept = np.mean(np.sort(values, axis=-1)[..., n_cut : n - n_cut], axis=-1)
    else:
        shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        order = np.argsort(values, axis=-1)
        upper = np.cumsum(shares[order], axis=-1)
        lower = upper - shares[order]
        cut = n_cut / n
        inside = np.clip(np.minimum(upper, 1.0 - cut) - np.maximum(lower, cut), 0.0, None)
        # np.where: an infinite score outside the quartiles has weight 0, and 0 * inf would be NaN
        ordered = np.where(inside > 0.0, np.take_along_axis(values, order, axis=-1), 0.0)
        kept = np.sum(ordered * inside, axis=-1) / np.sum(inside, axis=-1)
    # sorting puts NaN last, where it would be cut as if it were the best score
    return np.where(np.isnan(values).any(axis=-1), np.nan, kept)


def optimality_gap(scores: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Mean amount by which normalized scores fall short of 1, the reference; what exceeds 1 does not make up for it.

    Agarwal et al. (2021), section 4.3. Smaller is better.

    Args:
        scores: [..., n], normalized: 0 is the random policy, 1 the reference.
        weights: [n], how much each run counts; equal when None.

    Returns:
        [...], NaN where n = 0 or a score is NaN.
    """
    return mean(1.0 - np.minimum(_floats(scores), 1.0), weights)


def pool(strata: Sequence[ArrayLike]) -> tuple[FloatArray, FloatArray]:
    """The scores of several environments in one row, with weights that let each environment count the same.

    Args:
        strata: one array [..., n_k] an environment, n_k > 0.

    Returns:
        Scores [..., sum n_k] and weights [sum n_k]: 1 / n_k for each run of environment k.
    """
    arrays = [_floats(stratum) for stratum in strata]
    weights = [np.full(array.shape[-1], 1.0 / array.shape[-1]) for array in arrays]
    return np.concatenate(arrays, axis=-1), np.concatenate(weights)


def _floats(scores: ArrayLike) -> FloatArray:
    return np.asarray(scores, dtype=np.float64)


def _nothing(values: FloatArray) -> FloatArray:
    return np.full(values.shape[:-1], np.nan)
