"""Environment-side parts: normalization of observations, rewards, actions and images."""

from wrappers.running_statistics import RunningStatistics
from wrappers.vec_normalize_arrays import frozen_from_arrays, statistics_to_arrays, vec_normalize_from_arrays

__all__ = ["RunningStatistics", "frozen_from_arrays", "statistics_to_arrays", "vec_normalize_from_arrays"]
