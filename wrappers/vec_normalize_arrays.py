"""Statistics and settings of a VecNormalize as named plain arrays, and back.

Stable-Baselines3 keeps the statistics of its `VecNormalize` in a pickle of their own, which gets lost or is paired with
the wrong model. Named arrays fit into the model's file, are read without executing anything, and can be compared.

Layout (`<key>` is the observation's key; a flat observation space has none and the part is left out):

| name | content |
|---|---|
| `format` | version of this layout, 1 |
| `norm_obs`, `norm_reward` | bool |
| `clip_obs`, `clip_reward`, `gamma`, `epsilon` | float64 |
| `norm_obs_keys` | strings; only for Dict observations |
| `obs_rms/<key>/mean`, `.../var`, `.../count` | float64; only with `norm_obs` |
| `ret_rms/mean`, `ret_rms/var`, `ret_rms/count` | float64, of the discounted return |
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

FORMAT = 1

_FLOAT_SETTINGS = ("clip_obs", "clip_reward", "gamma", "epsilon")
_BOOL_SETTINGS = ("norm_obs", "norm_reward")


def statistics_to_arrays(vec_normalize: VecNormalize) -> dict[str, np.ndarray]:
    """Everything needed to rebuild a VecNormalize, as plain arrays.

    Args:
        vec_normalize: the wrapper whose statistics and settings are wanted; it is not changed.

    Returns:
        Independent arrays by name (see the module's table), none of object type.

    Raises:
        TypeError: the argument is not a VecNormalize.
    """
    if not isinstance(vec_normalize, VecNormalize):
        raise TypeError(
            f"statistics_to_arrays got a {type(vec_normalize).__name__}, but only a VecNormalize has statistics; "
            "model.get_vec_normalize_env() gives the one of a model."
        )
    arrays: dict[str, np.ndarray] = {"format": np.array(FORMAT)}
    arrays |= {name: np.array(bool(getattr(vec_normalize, name))) for name in _BOOL_SETTINGS}
    arrays |= {name: np.array(getattr(vec_normalize, name), dtype=np.float64) for name in _FLOAT_SETTINGS}
    if vec_normalize.norm_obs:
        if isinstance(vec_normalize.observation_space, spaces.Dict):
            arrays["norm_obs_keys"] = np.array(list(vec_normalize.obs_rms), dtype=np.str_)
        for prefix, statistics in _observation_statistics(vec_normalize).items():
            arrays |= _moments(prefix, statistics)
    return arrays | _moments("ret_rms", vec_normalize.ret_rms)


def vec_normalize_from_arrays(
    venv: VecEnv, arrays: Mapping[str, np.ndarray], *, training: bool = True, norm_reward: bool | None = None
) -> VecNormalize:
    """A VecNormalize around `venv` that goes on from saved statistics.

    Args:
        venv: the environments, without normalization.
        arrays: what `statistics_to_arrays` gave; an open `.npz` file serves as well.
        training: whether the statistics go on moving.
        norm_reward: whether rewards are scaled; None takes what was saved.

    Returns:
        The wrapper, with the saved settings.

    Raises:
        ValueError: an array is missing, the layout is of another version, or the statistics do not fit the
            observation space of `venv` (the message names the key).
    """
    found = int(_array(arrays, "format"))
    if found != FORMAT:
        raise ValueError(
            f"Normalization statistics of format {found}, but this version reads format {FORMAT}; "
            "load them with the version of actorzoo that wrote them, or save them again."
        )
    settings: dict[str, Any] = {name: bool(_array(arrays, name)) for name in _BOOL_SETTINGS}
    settings |= {name: float(_array(arrays, name)) for name in _FLOAT_SETTINGS}
    if norm_reward is not None:
        settings["norm_reward"] = norm_reward
    if settings["norm_obs"]:
        _check_fits(venv.observation_space, arrays)
        if isinstance(venv.observation_space, spaces.Dict):
            settings["norm_obs_keys"] = [str(key) for key in arrays["norm_obs_keys"]]
    vec_normalize = VecNormalize(venv, training=training, **settings)
    for prefix, statistics in _observation_statistics(vec_normalize).items():
        _restore(statistics, prefix, arrays)
    _restore(vec_normalize.ret_rms, "ret_rms", arrays)
    return vec_normalize


def frozen_from_arrays(venv: VecEnv, arrays: Mapping[str, np.ndarray]) -> VecNormalize:
    """A VecNormalize for evaluation: saved statistics that no longer move, rewards left as they are.

    Args:
        venv: the environments, without normalization.
        arrays: what `statistics_to_arrays` gave; an open `.npz` file serves as well.

    Returns:
        The wrapper, with `training=False` and `norm_reward=False`.

    Raises:
        ValueError: as `vec_normalize_from_arrays`.
    """
    return vec_normalize_from_arrays(venv, arrays, training=False, norm_reward=False)


def _observation_statistics(vec_normalize: VecNormalize) -> dict[str, RunningMeanStd]:
    """The statistics of each observation key, by the first part of their arrays' names."""
    if not vec_normalize.norm_obs:
        return {}
    # SB3 annotates a dict, but a flat observation space has a single RunningMeanStd
    obs_rms: RunningMeanStd | dict[str, RunningMeanStd] = vec_normalize.obs_rms
    if isinstance(obs_rms, dict):
        return {f"obs_rms/{key}": statistics for key, statistics in obs_rms.items()}
    return {"obs_rms": obs_rms}


def _moments(prefix: str, statistics: RunningMeanStd) -> dict[str, np.ndarray]:
    return {
        f"{prefix}/{name}": np.array(getattr(statistics, name), dtype=np.float64) for name in ("mean", "var", "count")
    }


def _restore(statistics: RunningMeanStd, prefix: str, arrays: Mapping[str, np.ndarray]) -> None:
    shape = np.shape(statistics.mean)
    for name in ("mean", "var"):
        saved = _array(arrays, f"{prefix}/{name}").astype(np.float64)
        if saved.shape != shape:
            raise ValueError(f"{prefix}/{name} has shape {saved.shape}, but {shape} is needed; the file is damaged.")
        setattr(statistics, name, saved)
    statistics.count = float(_array(arrays, f"{prefix}/count"))


def _array(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(
            f"The array {name!r} is missing among the normalization statistics {sorted(arrays)}; "
            "pass what statistics_to_arrays returned."
        )
    return np.asarray(arrays[name])


def _check_fits(space: spaces.Space[Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Compare the statistics' keys and shapes with the observation space."""
    remedy = "use the environment the statistics were made with, or normalize anew."
    saved_is_dict = "norm_obs_keys" in arrays
    if isinstance(space, spaces.Dict) != saved_is_dict:
        was, is_now = ("Dict", "flat") if saved_is_dict else ("flat", "Dict")
        raise ValueError(
            f"The statistics belong to {was} observations, but the environment has {is_now} ones; {remedy}"
        )
    if not isinstance(space, spaces.Dict):
        _check_shape("observation", space, _array(arrays, "obs_rms/mean"), remedy)
        return
    for key in map(str, arrays["norm_obs_keys"]):
        if key not in space.spaces:
            raise ValueError(
                f"The statistics have the observation key {key!r}, "
                f"but the environment has {sorted(space.spaces)}; {remedy}"
            )
        _check_shape(f"observation key {key!r}", space.spaces[key], _array(arrays, f"obs_rms/{key}/mean"), remedy)


def _check_shape(what: str, space: spaces.Space[Any], mean: np.ndarray, remedy: str) -> None:
    if space.shape != mean.shape:
        raise ValueError(
            f"The statistics of {what} have shape {mean.shape}, but the environment's have {space.shape}; {remedy}"
        )
