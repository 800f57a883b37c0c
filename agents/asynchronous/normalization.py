"""One set of normalization statistics for all workers' VecNormalize wrappers.

Every worker counts what its own environments show as an exact delta (count, mean, sum of squared deviations in
float64). After each segment it merges the delta into the shared statistics and goes on from them, so everybody acts
with what all have seen, the prior stands once, and a worker that dies takes nothing with it but its last segment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from agents.asynchronous.memory import FileLock
from wrappers.running_statistics import RunningStatistics
from wrappers.vec_normalize import learning_statistics_of


def adopt_statistics(vec_normalize: VecNormalize) -> dict[str, RunningStatistics]:
    """The wrapper's statistics by name, as objects that merge; SB3's own kind is replaced by them in place."""
    statistics = learning_statistics_of(vec_normalize)
    for name, own in statistics.items():
        if name == "ret_rms":
            vec_normalize.ret_rms = own
        elif name == "obs_rms":
            vec_normalize.obs_rms = own  # type: ignore[assignment] # SB3 annotates the dict only
        else:
            vec_normalize.obs_rms[name.removeprefix("obs_rms/")] = own
    return statistics


def write_back(vec_normalize: VecNormalize, statistics: Mapping[str, RunningStatistics]) -> None:
    """Give a wrapper of SB3's own kind the numbers of ``statistics``; ours shares the objects already."""
    for name, own in statistics.items():
        target: Any
        if name == "ret_rms":
            target = vec_normalize.ret_rms
        elif name == "obs_rms":
            target = vec_normalize.obs_rms
        else:
            target = vec_normalize.obs_rms[name.removeprefix("obs_rms/")]
        if target is not own:
            target.mean, target.var, target.count = own.mean.copy(), own.var.copy(), own.count


def own_arrays(statistics: Mapping[str, RunningStatistics]) -> dict[str, NDArray[Any]]:
    """The arrays that workers share, holding the present statistics.

    Two versions and the number of the valid one: a worker that is killed while it writes leaves the other intact.
    """
    flat = np.concatenate([own.to_flat() for own in statistics.values()])
    return {"normalization": np.stack([flat, flat]), "normalization_valid": np.zeros(1, dtype=np.int64)}


def load_shared(statistics: Mapping[str, RunningStatistics], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Let statistics take the values of the shared arrays."""
    versions, valid = arrays["normalization"], arrays["normalization_valid"]
    while True:
        version = int(valid[0])
        flat = versions[version].copy()
        if valid[0] == version:  # else it may have been overwritten while it was copied
            break
    start = 0
    for own in statistics.values():
        own.load_flat(flat[start : start + own.flat_size])
        start += own.flat_size


class SharedNormalization:
    """A worker's end of the shared statistics.

    Args:
        statistics: of the worker's own wrapper; they take the shared values.
        arrays: the shared ones.
        lock: held while merging.
    """

    def __init__(
        self,
        statistics: Mapping[str, RunningStatistics],
        arrays: Mapping[str, NDArray[Any]],
        lock: FileLock | contextlib.AbstractContextManager[None],
    ) -> None:
        self._statistics = dict(statistics)
        self._versions = arrays["normalization"]
        self._valid = arrays["normalization_valid"]
        self._lock = lock
        self._shared = {name: own.copy() for name, own in self._statistics.items()}
        load_shared(self._statistics, arrays)
        for own in self._statistics.values():
            own.track_delta()

    @classmethod
    def of(
        cls,
        venv: VecEnv,
        arrays: Mapping[str, NDArray[Any]],
        lock: FileLock | contextlib.AbstractContextManager[None],
    ) -> SharedNormalization | None:
        """The worker's end, or None where the environment has no statistics that are shared."""
        vec_normalize = unwrap_vec_normalize(venv)
        if vec_normalize is None or "normalization" not in arrays:
            return None
        return cls(adopt_statistics(vec_normalize), arrays, lock)

    def exchange(self) -> None:
        """Merge what was seen since the last call into the shared statistics, and go on from these."""
        deltas = {name: own.take_delta() for name, own in self._statistics.items()}
        with self._lock:
            valid = int(self._valid[0])
            start = 0
            for name, shared in self._shared.items():
                where = slice(start, start + shared.flat_size)
                shared.load_flat(self._versions[valid, where])
                shared.merge(deltas[name])
                shared.to_flat(self._versions[1 - valid, where])
                start = where.stop
            self._valid[0] = 1 - valid
        for name, own in self._statistics.items():
            own.rebase(self._shared[name])
