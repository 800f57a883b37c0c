"""How statistics, settings and rules of a VecNormalize are laid out as named arrays.

`<key>` is the observation's key; a flat observation has none and the part is left out.

| name | content |
|---|---|
| `format` | version of this layout, 1 |
| `norm_obs`, `norm_reward` | bool |
| `clip_obs`, `clip_reward`, `gamma`, `epsilon` | float64 |
| `norm_obs_keys` | strings; for Dict observations without rules: the keys with running statistics |
| `rule_keys` | strings; for Dict observations with rules: all keys |
| `obs_rms/<key>/mean`, `/var`, `/count`, ... | what `RunningStatistics.to_arrays` gives, for running statistics |
| `obs_rms/<key>/rule` | the rule's name; only with rules |
| `obs_rms/<key>/low`, `/high`, `/given`, `/dtype` | for the rules `bounds` and `image` |
| `obs_rms/<key>/sizes`, `/start` | for the rule `one_hot` |
| `ret_rms/mean`, `/var`, `/count`, `/by`, `/largest`, ... | what `RewardScale.to_arrays` gives |
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from wrappers.rules import Rule, Rules
from wrappers.transforms import AnySpace

FORMAT = 1

Arrays = Mapping[str, np.ndarray]

_FLOAT_SETTINGS = ("clip_obs", "clip_reward", "gamma", "epsilon")
_BOOL_SETTINGS = ("norm_obs", "norm_reward")
_REMEDY = "use the environment the statistics were made with, or normalize anew."


def pack(
    vec_normalize: SB3VecNormalize, groups: Mapping[str, Arrays], rule_keys: list[str] | None
) -> dict[str, np.ndarray]:
    """Settings and groups of arrays under one layout.

    Args:
        vec_normalize: whose settings are wanted.
        groups: arrays by `obs_rms`, `obs_rms/<key>` and `ret_rms`.
        rule_keys: all keys of a Dict observation with rules; None without rules, or for a flat observation.
    """
    arrays: dict[str, np.ndarray] = {"format": np.array(FORMAT)}
    arrays |= {name: np.array(bool(getattr(vec_normalize, name))) for name in _BOOL_SETTINGS}
    arrays |= {name: np.array(getattr(vec_normalize, name), dtype=np.float64) for name in _FLOAT_SETTINGS}
    if rule_keys is not None:
        arrays["rule_keys"] = np.array(rule_keys, dtype=np.str_)
    elif vec_normalize.norm_obs and isinstance(vec_normalize.observation_space, spaces.Dict):
        arrays["norm_obs_keys"] = np.array(list(vec_normalize.obs_rms), dtype=np.str_)
    for prefix, content in groups.items():
        arrays |= {f"{prefix}/{name}": array for name, array in content.items()}
    return arrays


def group(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """The arrays under a prefix, by the rest of their names."""
    start = f"{prefix}/"
    return {name[len(start) :]: np.asarray(arrays[name]) for name in arrays if name.startswith(start)}


def settings_of(arrays: Arrays) -> dict[str, Any]:
    """Arguments of `wrappers.VecNormalize`, all but `training`, `rules`, and those that its statistics keep themselves.

    Raises:
        ValueError: an array is missing, or the layout is of another version.
    """
    found = int(_array(arrays, "format"))
    if found != FORMAT:
        raise ValueError(
            f"Normalization statistics of format {found}, but this version reads format {FORMAT}; "
            "load them with the version of actorzoo that wrote them, or save them again."
        )
    settings: dict[str, Any] = {name: bool(_array(arrays, name)) for name in _BOOL_SETTINGS}
    settings |= {name: float(_array(arrays, name)) for name in _FLOAT_SETTINGS}
    if "norm_obs_keys" in arrays:
        settings["norm_obs_keys"] = [str(key) for key in arrays["norm_obs_keys"]]
    for name in ("mean", "var", "count"):
        _array(arrays, f"ret_rms/{name}")
    if "ret_rms/by" in arrays:
        settings["reward_by"] = str(arrays["ret_rms/by"])
    return settings


def rules_of(arrays: Arrays) -> Rules | None:
    """The rules, as they are given to a wrapper; None where it had none."""
    if "rule_keys" in arrays:
        return {str(key): _rule(group(arrays, f"obs_rms/{key}")) for key in arrays["rule_keys"]}
    return _rule(group(arrays, "obs_rms")) if "obs_rms/rule" in arrays else None


def source_space(space: AnySpace, arrays: Arrays) -> AnySpace:
    """What the environment gave, from what came out.

    Args:
        space: the observation space that a VecNormalize declared, for instance that of a model.
        arrays: its statistics, settings and rules.

    Returns:
        A space with the shapes of the environment's own. Without rules shapes do not change, and it is `space`.
    """
    if "rule_keys" in arrays and isinstance(space, spaces.Dict):
        return spaces.Dict({key: _source(part, group(arrays, f"obs_rms/{key}")) for key, part in space.spaces.items()})
    return _source(space, group(arrays, "obs_rms"))


def check_fits(space: AnySpace, arrays: Arrays) -> None:
    """Compare keys and shapes of saved statistics with an environment's observation space.

    Raises:
        ValueError: they differ; the message names the key.
    """
    if not bool(_array(arrays, "norm_obs")):
        return
    is_dict = "norm_obs_keys" in arrays or "rule_keys" in arrays
    if isinstance(space, spaces.Dict) != is_dict:
        was, is_now = ("Dict", "flat") if is_dict else ("flat", "Dict")
        raise ValueError(
            f"The statistics belong to {was} observations, but the environment has {is_now} ones; {_REMEDY}"
        )
    if not isinstance(space, spaces.Dict):
        if "obs_rms/rule" not in arrays:
            _check_shape("observation", space, _array(arrays, "obs_rms/mean"))
        return
    with_rules = "rule_keys" in arrays
    keys = [str(key) for key in arrays["rule_keys" if with_rules else "norm_obs_keys"]]
    for key in keys:
        if key not in space.spaces:
            raise ValueError(
                f"The statistics have the observation key {key!r}, "
                f"but the environment has {sorted(space.spaces)}; {_REMEDY}"
            )
        if not with_rules:
            _check_shape(f"observation key {key!r}", space.spaces[key], _array(arrays, f"obs_rms/{key}/mean"))
    for key in space.spaces:
        if with_rules and key not in keys:
            raise ValueError(
                f"The environment has the observation key {key!r}, but the statistics have {sorted(keys)}; {_REMEDY}"
            )


def check_same_space(saved: AnySpace, current: AnySpace) -> None:
    """Compare keys and shapes of two observation spaces.

    Raises:
        ValueError: they differ; the message names the key.
    """
    if isinstance(saved, spaces.Dict) and isinstance(current, spaces.Dict):
        if saved.keys() != current.keys():
            raise ValueError(
                f"The statistics have the observation keys {sorted(saved.spaces)}, but the environment has "
                f"{sorted(current.spaces)}; {_REMEDY}"
            )
        pairs = {f"observation {key!r}": (saved[key], current[key]) for key in saved}
    else:
        pairs = {"observation": (saved, current)}
    for name, (was, is_now) in pairs.items():
        if type(was) is not type(is_now) or was.shape != is_now.shape:
            raise ValueError(f"{name}: the statistics belong to {was}, but the environment gives {is_now}; {_REMEDY}")


def _rule(content: Arrays) -> Rule:
    name = str(content["rule"])
    if "given" in content and bool(content["given"]):
        return {"rule": name, "low": content["low"], "high": content["high"]}
    return name


def _source(space: AnySpace, content: Arrays) -> AnySpace:
    rule = str(content.get("rule", "running"))
    if rule in {"bounds", "image"}:
        dtype = np.dtype(str(content["dtype"]))
        if bool(content["given"]):
            return spaces.Box(-np.inf, np.inf, content["low"].shape, np.float32)
        return spaces.Box(content["low"].astype(dtype), content["high"].astype(dtype), dtype=dtype.type)
    if rule == "one_hot":
        sizes, start = content["sizes"], content["start"]
        if sizes.shape == ():
            return spaces.Discrete(int(sizes), start=int(start))
        return spaces.MultiDiscrete(sizes, start=start)
    return space


def _array(arrays: Arrays, name: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(
            f"The array {name!r} is missing among the normalization statistics {sorted(arrays)}; "
            "pass what statistics_to_arrays returned."
        )
    return np.asarray(arrays[name])


def _check_shape(what: str, space: AnySpace, mean: np.ndarray) -> None:
    if space.shape != mean.shape:
        raise ValueError(
            f"The statistics of {what} have shape {mean.shape}, but the environment's have {space.shape}; {_REMEDY}"
        )
