"""Statistics that several processes learn together, through one shared vector.

Every worker steps its own copy of the environment. Its VecNormalize acts with what all workers have seen, and keeps
apart what it has seen itself since it last reported (its delta). To report is to merge that delta into the shared
vector; the merge is exact and its order does not matter, so that in the end the vector holds the statistics of all
streams put together. The prior of the statistics stands once, in the shared vector. A worker that dies takes along only
the delta it had not reported.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from wrappers.running_statistics import RunningStatistics
from wrappers.vec_normalize import VecNormalize, learning_statistics_of

Float64Array = NDArray[np.float64]


class StatisticsExchange:
    """The statistics of one VecNormalize, as a vector.

    Args:
        vec_normalize: ours or SB3's. In one of SB3's kind the statistics are replaced by `RunningStatistics`, which
            SB3's code works with. From then on its statistics must not be replaced by others.

    Attributes:
        size: length of the vector, in float64 numbers.
    """

    def __init__(self, vec_normalize: SB3VecNormalize) -> None:
        statistics = learning_statistics_of(vec_normalize)
        if not isinstance(vec_normalize, VecNormalize):
            _put_in(vec_normalize, statistics)
        self._vec_normalize = vec_normalize
        self._statistics = list(statistics.values())
        self._scratch = [RunningStatistics(s.shape, decay=s.decay, name=s.name) for s in self._statistics]
        ends = np.cumsum([s.flat_size for s in self._statistics]).tolist()
        self._parts = [slice(end - s.flat_size, end) for s, end in zip(self._statistics, ends, strict=True)]
        self.size = ends[-1] + 1  # the last number is the largest sum of rewards, for the measure episode_maximum

    def read(self, out: Float64Array | None = None) -> Float64Array:
        """The statistics as they are.

        Args:
            out: [size], written to; for instance shared memory.
        """
        if out is None:
            out = np.empty(self.size)
        for statistics, part in zip(self._statistics, self._parts, strict=True):
            statistics.to_flat(out=out[part])
        out[-1] = self._largest
        return out

    def write(self, vector: Float64Array) -> None:
        """Replace the statistics by those of a vector; deltas are neither counted nor dropped."""
        for statistics, part in zip(self._statistics, self._parts, strict=True):
            statistics.load_flat(vector[part])
        self._largest = float(vector[-1])

    def track(self) -> None:
        """From now on keep apart what this wrapper sees."""
        for statistics in self._statistics:
            statistics.track_delta()

    def report(self, shared: Float64Array) -> None:
        """Merge into a shared vector what was seen since the last report. The caller holds the lock.

        Args:
            shared: [size], changed in place.
        """
        for statistics, scratch, part in zip(self._statistics, self._scratch, self._parts, strict=True):
            delta = statistics.take_delta()
            if delta.n_samples:
                scratch.load_flat(shared[part])
                scratch.merge(delta)
                scratch.to_flat(out=shared[part])
        shared[-1] = max(shared[-1], self._largest)

    def follow(self, shared: Float64Array) -> None:
        """Go on from a shared vector, and from what was seen since the last report. The caller holds the lock."""
        for statistics, scratch, part in zip(self._statistics, self._scratch, self._parts, strict=True):
            statistics.rebase(scratch.load_flat(shared[part]))
        self._largest = max(self._largest, float(shared[-1]))

    @property
    def _largest(self) -> float:
        wrapper = self._vec_normalize
        return wrapper.largest_sum if isinstance(wrapper, VecNormalize) else 0.0

    @_largest.setter
    def _largest(self, largest: float) -> None:
        if isinstance(self._vec_normalize, VecNormalize):
            self._vec_normalize.largest_sum = largest


def _put_in(vec_normalize: SB3VecNormalize, statistics: dict[str, RunningStatistics]) -> None:
    vec_normalize.ret_rms = statistics["ret_rms"]
    if not vec_normalize.norm_obs:
        return
    obs_rms: Any = vec_normalize.obs_rms  # SB3 annotates a dict, but a flat observation has a single one
    if isinstance(obs_rms, dict):
        for key in obs_rms:
            obs_rms[key] = statistics[f"obs_rms/{key}"]
    else:
        vec_normalize.__dict__["obs_rms"] = statistics["obs_rms"]
