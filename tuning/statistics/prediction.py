"""Where the mean of runs that are yet to be made will lie, from those that were made."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tuning.statistics.bootstrap import CONFIDENCE


def prediction_interval(scores: ArrayLike, n_new: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Prediction interval for the mean of new runs: mean ± t s √(1/n + 1/m).

    t is Student's quantile with n - 1 degrees of freedom: exact for normal scores, and with a handful of runs no more
    than a good guess for others.

    Args:
        scores: [n], one score a run.
        n_new: m, how many new runs the mean is of.
        confidence: in (0, 1).

    Returns:
        Low and high; NaN where n < 2.
    """
    values = np.asarray(scores, dtype=np.float64)
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) * np.sqrt(1 / n + 1 / n_new)
    middle = np.mean(values)
    return float(middle - half), float(middle + half)
