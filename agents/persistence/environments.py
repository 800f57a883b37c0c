"""The environment given to `agents.load`, made into what SB3 works with."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from wrappers import VecNormalize, frozen_from_arrays

Environment = str | gymnasium.Env | VecEnv | Callable[[], gymnasium.Env | VecEnv]


def is_made_by_us(env: Environment) -> bool:
    """Whether `as_vec_env` makes a new environment, which nobody else can close."""
    return not isinstance(env, gymnasium.Env | VecEnv)


def as_vec_env(env: Environment) -> VecEnv:
    """A vector environment, monitored as SB3 does it.

    Args:
        env: an id (made without a render mode), an Env, a VecEnv, or a callable that returns either.

    Raises:
        TypeError: something else, or a callable that returns something else.
    """
    if isinstance(env, str):
        made: object = gymnasium.make(env)
    elif callable(env) and is_made_by_us(env):
        made = env()
    else:
        made = env
    if isinstance(made, VecEnv):
        return made
    if not isinstance(made, gymnasium.Env):
        raise TypeError(
            f"Got {made!r} as env, but an environment id, a gymnasium.Env, an SB3 VecEnv, or a callable that returns "
            "one of the latter two is needed; try a function that makes the environment."
        )
    monitored = made if is_wrapped(made, Monitor) else Monitor(made)
    return DummyVecEnv([lambda: monitored])


def give_statistics(given: SB3VecNormalize, arrays: Mapping[str, np.ndarray]) -> None:
    """Let the caller's wrapper go on from saved statistics, clipping, gamma and epsilon.

    Whether it goes on learning (`training`) and scales rewards (`norm_reward`) stays its own decision.

    Args:
        given: SB3's VecNormalize, or ours.
        arrays: what `wrappers.statistics_to_arrays` gave.

    Raises:
        ValueError: it normalizes something else than the saved one did, or the statistics do not fit its environment.
            Nothing has changed then.
    """
    source = frozen_from_arrays(given.venv, arrays)
    here, in_file = _what_is_normalized(given), _what_is_normalized(source)
    if here != in_file:
        raise ValueError(
            f"The VecNormalize given with env normalizes {here}, but the model was trained with one that normalizes "
            f"{in_file}; give the environment without it, as agents.load wraps it, or with the same settings."
        )
    if isinstance(given, VecNormalize):
        given.load_arrays(arrays)
        return
    if source.norm_obs:
        learned: Any = source.obs_rms  # SB3 annotates a dict, but a flat observation has a single one
        plain: Any = (
            {key: _plain(part) for key, part in learned.items()} if isinstance(learned, dict) else _plain(learned)
        )
        given.obs_rms = plain
    given.ret_rms = _plain(source.ret_rms)
    for name in ("clip_obs", "clip_reward", "gamma", "epsilon"):
        setattr(given, name, getattr(source, name))


def _what_is_normalized(vec_normalize: SB3VecNormalize) -> str:
    if not vec_normalize.norm_obs:
        return "no observations"
    by_rules = isinstance(vec_normalize, VecNormalize) and vec_normalize.has_rules
    keys = sorted(vec_normalize.norm_obs_keys or [])
    return ("observations" + (f" {keys}" if keys else "")) + (" by rules" if by_rules else "")


def _plain(statistics: RunningMeanStd) -> RunningMeanStd:
    """SB3's own kind, so that the wrapper stays SB3's through and through, in its pickles as well."""
    plain = RunningMeanStd(shape=np.shape(statistics.mean))
    plain.mean, plain.var = np.array(statistics.mean), np.array(statistics.var)
    plain.count = float(statistics.count)
    return plain
