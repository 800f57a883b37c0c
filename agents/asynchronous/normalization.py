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
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from agents.asynchronous.memory import FileLock
from wrappers.statistics_exchange import StatisticsExchange
from wrappers.vec_normalize import VecNormalize, learning_statistics_of

Arrays = Mapping[str, NDArray[Any]]

# What may be changed at a VecNormalize after it was made.
_SETTINGS = ("training", "norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon")


def normalization_state(venv: VecEnv) -> dict[str, Any]:
    """What the VecNormalize of ``venv`` has been set to and has learned; empty without one."""
    wrapper = unwrap_vec_normalize(venv)
    if wrapper is None:
        return {}
    state = {name: vars(wrapper)[name] for name in (*_SETTINGS, "obs_rms", "ret_rms") if name in vars(wrapper)}
    return state | ({"largest_sum": wrapper.largest_sum} if isinstance(wrapper, VecNormalize) else {})


def set_normalization_state(venv: VecEnv, state: Mapping[str, Any]) -> None:
    """Let the VecNormalize of ``venv``, where it has one, act as the one that ``state`` was taken from."""
    wrapper = unwrap_vec_normalize(venv)
    if wrapper is not None:
        for name, value in state.items():
            setattr(wrapper, name, value)


def shown_space(venv: VecEnv) -> spaces.Space[Any]:
    """The space of what environments show.

    A VecNormalize around integers goes on declaring them although it shows float32, which integers would cut off.
    """
    space = venv.observation_space
    wrapper = unwrap_vec_normalize(venv)
    statistics: Any = getattr(wrapper, "obs_rms", None) if wrapper is not None and wrapper.norm_obs else None
    if statistics is None:
        return space
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _floats(part) if key in statistics else part for key, part in space.items()})
    return _floats(space)


def _floats(space: spaces.Space[Any]) -> spaces.Space[Any]:
    assert space.dtype is not None
    return space if space.dtype.kind == "f" else spaces.Box(-np.inf, np.inf, space.shape, np.float32)


class ModelNormalization:
    """The calling process's end: lets the model's VecNormalize, of either kind, have what the workers have merged.

    Args:
        vec_normalize: the model's; one of SB3's own kind keeps statistics of SB3's own kind.
    """

    def __init__(self, vec_normalize: SB3VecNormalize) -> None:
        self._vec_normalize = vec_normalize
        self._statistics = learning_statistics_of(vec_normalize)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that workers share, holding the present statistics.

        Two versions and the number of merges, which is even where the first one is valid: a worker that is killed while
        it writes leaves the other intact.
        """
        wrapper = self._vec_normalize
        largest = wrapper.largest_sum if isinstance(wrapper, VecNormalize) else 0.0
        vector = np.concatenate([*(own.to_flat() for own in self._statistics.values()), [largest]])
        return {"normalization": np.stack([vector, vector]), "normalization_merges": np.zeros(1, dtype=np.int64)}

    def adopt(self, arrays: Arrays) -> None:
        """Take what is valid now; no worker waits for it."""
        vector = _valid(arrays)
        start = 0
        for name, own in self._statistics.items():
            own.load_flat(vector[start : start + own.flat_size])
            start += own.flat_size
            self._show(name, own)
        if isinstance(self._vec_normalize, VecNormalize):
            self._vec_normalize.largest_sum = float(vector[-1])

    def _show(self, name: str, own: Any) -> None:
        """Give a wrapper of SB3's own kind the numbers; ours has the statistics themselves."""
        wrapper: Any = self._vec_normalize
        if name == "ret_rms":
            shown = wrapper.ret_rms
        else:
            shown = wrapper.obs_rms if name == "obs_rms" else wrapper.obs_rms[name.removeprefix("obs_rms/")]
        if shown is not own:
            shown.mean, shown.var, shown.count = own.mean.copy(), own.var.copy(), own.count


def _valid(arrays: Arrays) -> NDArray[np.float64]:
    """A copy of the valid version that was not written to while it was copied."""
    versions, merges = arrays["normalization"], arrays["normalization_merges"]
    while True:
        number = int(merges[0])
        vector: NDArray[np.float64] = versions[number % 2].copy()
        # the next merge writes to the other version; only the one after that, to this
        if merges[0] == number:
            return vector


class SharedNormalization:
    """A worker's end of the shared statistics.

    Args:
        vec_normalize: the worker's own wrapper; its statistics take the shared values.
        arrays: the shared ones.
        lock: held while merging.
    """

    def __init__(
        self,
        vec_normalize: SB3VecNormalize,
        arrays: Arrays,
        lock: FileLock | contextlib.AbstractContextManager[None],
    ) -> None:
        self._exchange = StatisticsExchange(vec_normalize)
        self._versions = arrays["normalization"]
        self._merges = arrays["normalization_merges"]
        self._lock = lock
        self._exchange.write(_valid(arrays))
        self._exchange.track()

    @classmethod
    def of(
        cls,
        venv: VecEnv,
        arrays: Arrays,
        lock: FileLock | contextlib.AbstractContextManager[None],
    ) -> SharedNormalization | None:
        """The worker's end, or None where the environment has no statistics that are shared."""
        vec_normalize = unwrap_vec_normalize(venv)
        if vec_normalize is None or "normalization" not in arrays:
            return None
        return cls(vec_normalize, arrays, lock)

    def exchange(self) -> None:
        """Merge what was seen since the last call into the shared statistics, and go on from these."""
        with self._lock:
            valid = int(self._merges[0]) % 2
            following = self._versions[1 - valid]
            np.copyto(following, self._versions[valid])
            self._exchange.report(following)
            self._merges[0] += 1
            self._exchange.follow(following)
