"""Environment-side parts: normalization of observations, rewards, actions and images; vector adapters."""

from wrappers.from_gymnasium_vector import from_gymnasium_vector
from wrappers.normalize_action import NormalizeAction
from wrappers.normalize_image import NormalizeImage
from wrappers.normalize_observation import NormalizeObservation
from wrappers.normalize_reward import NormalizeReward
from wrappers.running_statistics import RunningStatistics
from wrappers.statistics_exchange import StatisticsExchange
from wrappers.to_gymnasium_vector import to_gymnasium_vector
from wrappers.vec_normalize import VecNormalize
from wrappers.vec_normalize_action import VecNormalizeAction
from wrappers.vec_normalize_arrays import frozen_from_arrays, statistics_to_arrays, vec_normalize_from_arrays
from wrappers.vec_normalize_layout import source_space

__all__ = [
    "NormalizeAction",
    "NormalizeImage",
    "NormalizeObservation",
    "NormalizeReward",
    "RunningStatistics",
    "StatisticsExchange",
    "VecNormalize",
    "VecNormalizeAction",
    "from_gymnasium_vector",
    "frozen_from_arrays",
    "source_space",
    "statistics_to_arrays",
    "to_gymnasium_vector",
    "vec_normalize_from_arrays",
]
