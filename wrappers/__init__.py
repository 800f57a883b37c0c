"""Environment-side parts: normalization of observations, rewards, actions and images."""

from wrappers.normalize_action import NormalizeAction
from wrappers.normalize_image import NormalizeImage
from wrappers.normalize_observation import NormalizeObservation
from wrappers.normalize_reward import NormalizeReward
from wrappers.running_statistics import RunningStatistics
from wrappers.vec_normalize_action import VecNormalizeAction
from wrappers.vec_normalize_arrays import frozen_from_arrays, statistics_to_arrays, vec_normalize_from_arrays

__all__ = [
    "NormalizeAction",
    "NormalizeImage",
    "NormalizeObservation",
    "NormalizeReward",
    "RunningStatistics",
    "VecNormalizeAction",
    "frozen_from_arrays",
    "statistics_to_arrays",
    "vec_normalize_from_arrays",
]
