"""The environment given to `agents.load`, made into what SB3 works with."""

from collections.abc import Callable

import gymnasium
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

Environment = str | gymnasium.Env | VecEnv | Callable[[], gymnasium.Env | VecEnv]

_STATISTICS = (
    "obs_rms",
    "ret_rms",
    "norm_obs",
    "norm_obs_keys",
    "clip_obs",
    "clip_reward",
    "gamma",
    "epsilon",
)


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


def give_statistics(vec_normalize: VecNormalize, source: VecNormalize) -> None:
    """Let one wrapper normalize as another does; whether it goes on learning and scales rewards stays its own."""
    vec_normalize.__dict__.update({name: vars(source)[name] for name in _STATISTICS if name in vars(source)})
