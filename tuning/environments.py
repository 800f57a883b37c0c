"""The environments of a run: which exist, and how they are put together.

From the inside out: the environment as `gymnasium.make` gives it, without a render mode (rendering that nobody watches
costs time: LunarLander simulates its particles only then); Monitor, so that reported returns and lengths are those of
the environment itself; the configured wrappers; the scale of rewards; actions in [-1, 1]; SB3's DummyVecEnv; frame
stack; VecNormalize.
"""

import functools
import importlib
import importlib.util
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack

from agents.errors import MissingExtraError
from tuning.errors import UsageError, did_you_mean
from tuning.normalization import Normalize, normalize_actions, normalize_statistics

if TYPE_CHECKING:
    from agents.registry import AgentSpec
    from tuning.config import RunConfig

EnvWrapper = str | Mapping[str, Any]

_DEFAULT_GAMMA = 0.99  # SB3's, for algorithms without a discount

# the extra of this distribution, by the package in which Gymnasium keeps an environment
_EXTRAS = {
    "gymnasium.envs.box2d": ("box2d", "box2d"),
    "gymnasium.envs.mujoco": ("mujoco", "mujoco"),
}


def make_env(
    env_id: str,
    n_envs: int = 1,
    *,
    seed: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Iterable[EnvWrapper] = (),
    reward_scale: float = 1.0,
    normalize: Normalize | None = None,
    gamma: float = _DEFAULT_GAMMA,
    import_modules: Iterable[str] = (),
    render_mode: str | None = None,
    innermost: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]] | None = None,
) -> VecEnv:
    """Environments stepped together in this process.

    Args:
        env_id: a registered id.
        n_envs: how many.
        seed: the first environment's; the others count up. None leaves seeding to the algorithm.
        env_kwargs: passed to `gymnasium.make`.
        wrappers: by name, innermost first; see `WRAPPERS`.
        reward_scale: multiplies rewards outside Monitor, whose returns therefore stay unscaled.
        normalize: what to normalize, and by which rules; None for nothing.
        gamma: discount of the return whose deviation scales normalized rewards.
        import_modules: imported first; they register environments.
        render_mode: for watching only.
        innermost: wraps the bare environment, below Monitor.

    Returns:
        The environments; `infos` carry Monitor's "episode".

    Raises:
        UsageError: no such environment or wrapper, or arguments that it does not take.
        tuning.normalization.MisfitError: what `normalize` says does not fit the environment.
        agents.errors.MissingExtraError: it needs a package that is not installed.
    """
    check_known(env_id, import_modules)
    named = [wrapper_call(wrapper) for wrapper in wrappers]
    normalize = normalize or Normalize()

    def make() -> gym.Env[Any, Any]:
        env = _make_one(env_id, dict(env_kwargs or {}), render_mode)
        env = Monitor(env if innermost is None else innermost(env))
        for name, arguments in named:
            if name in WRAPPERS:
                env = WRAPPERS[name](env, **arguments)
        if reward_scale != 1.0:
            env = gym.wrappers.TransformReward(env, functools.partial(operator.mul, reward_scale))
        return normalize_actions(env) if normalize.action else env

    venv: VecEnv = DummyVecEnv([make] * n_envs)
    for name, arguments in named:
        if name in _VECTOR_WRAPPERS:
            venv = _VECTOR_WRAPPERS[name](venv, **arguments)
    venv = normalize_statistics(venv, normalize, gamma)
    if seed is not None:
        venv.seed(seed)
    return venv


def training_env(config: "RunConfig") -> VecEnv:
    """The environments that a run learns in, not seeded: the algorithm does that."""
    return make_env(
        config.env,
        config.n_envs,
        env_kwargs=config.env_kwargs,
        wrappers=config.env_wrapper,
        reward_scale=config.reward_scale,
        normalize=config.normalize,
        gamma=_discount(config),
        import_modules=config.import_modules,
    )


def evaluation_env(
    config: "RunConfig",
    n_envs: int = 1,
    render_mode: str | None = None,
    innermost: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]] | None = None,
) -> VecEnv:
    """The same environments with rewards and observations as they are; see `make_env` for the arguments."""
    return make_env(
        config.env,
        n_envs,
        env_kwargs=config.env_kwargs,
        wrappers=config.env_wrapper,
        normalize=config.normalize.of_actions_only(),
        import_modules=config.import_modules,
        render_mode=render_mode,
        innermost=innermost,
    )


def spaces_of(config: "RunConfig") -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """What the agent observes and does, found by making the environment once."""
    venv = make_env(
        config.env,
        env_kwargs=config.env_kwargs,
        wrappers=config.env_wrapper,
        normalize=config.normalize,
        import_modules=config.import_modules,
    )
    venv.close()
    return venv.observation_space, venv.action_space


def default_policy(spec: "AgentSpec", observation_space: spaces.Space[Any]) -> str:
    """The algorithm's default policy, or its sister for images or Dict observations where it has one."""
    kind = "Mlp"
    if isinstance(observation_space, spaces.Dict):
        kind = "MultiInput"
    elif is_image_space(observation_space):
        kind = "Cnn"
    name = spec.default_policy.replace("Mlp", kind)
    return name if name in spec.cls.policy_aliases else spec.default_policy


def check_known(env_id: str, import_modules: Iterable[str] = ()) -> None:
    """Import what registers environments and make sure that this one is among them.

    Raises:
        UsageError: a module cannot be imported, or no environment has this id; the message gives the nearest.
        agents.errors.MissingExtraError: an Atari game, and its package is not installed.
    """
    for module in import_modules:
        _import(module)
    module, _, name = env_id.rpartition(":")
    if module:
        _import(module)
    is_atari = "NoFrameskip" in name or name.startswith("ALE/")
    if is_atari and name not in gym.registry and not _register_atari():
        raise MissingExtraError("atari", wanted=f"The environment {env_id}", package="ale-py")
    if name not in gym.registry:
        _register_atari()  # only so that "Pong-v5" is told about ALE/Pong-v5
        close = did_you_mean(name, gym.registry) if name else "an id such as CartPole-v1 is needed"
        if close.startswith("allowed"):  # hundreds
            close = "actorzoo list shows those with settings; --import-module brings in packages that register others"
        raise UsageError(f"There is no environment {env_id!r}; {close}")


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"The module {module!r}, which should register environments, cannot be imported ({error}); check its name, "
            "and that it is installed or in the current folder"
        ) from error


def _register_atari() -> bool:
    if importlib.util.find_spec("ale_py") is None:
        return False
    gym.register_envs(importlib.import_module("ale_py"))
    return True


def _make_one(env_id: str, env_kwargs: dict[str, Any], render_mode: str | None) -> gym.Env[Any, Any]:
    # an environment without pictures need not know the argument
    rendering: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    try:
        return gym.make(env_id, **rendering, **env_kwargs)
    except gym.error.DependencyNotInstalled as error:
        entry_point = str(gym.spec(env_id).entry_point)
        for folder, (extra, package) in _EXTRAS.items():
            if entry_point.startswith(folder):
                raise MissingExtraError(extra, wanted=f"The environment {env_id}", package=package) from error
        raise UsageError(f"The environment {env_id} needs a package that is not installed: {error}") from error
    except gym.error.Error as error:  # deprecated, a render mode it does not have, ...
        raise UsageError(f"The environment {env_id} cannot be made: {error}") from error
    except TypeError as error:
        if not env_kwargs:
            raise
        reason = str(error).partition(" was raised from")[0]
        raise UsageError(f"The environment {env_id} does not take env_kwargs {env_kwargs}: {reason}") from error


def _atari(env: gym.Env[Any, Any], **arguments: Any) -> gym.Env[Any, Any]:
    if importlib.util.find_spec("cv2") is None:
        raise MissingExtraError("atari", wanted="The wrapper atari", package="opencv-python")
    return AtariWrapper(env, **arguments)


def _frame_stack(venv: VecEnv, value: int) -> VecEnv:
    return VecFrameStack(venv, value)


# what `env_wrapper` names, and with which arguments: {atari: {frame_skip: 4}}; {frame_stack: 4} gives its one argument
WRAPPERS: dict[str, Callable[..., gym.Env[Any, Any]]] = {"atari": _atari}
_VECTOR_WRAPPERS: dict[str, Callable[..., VecEnv]] = {"frame_stack": _frame_stack}


def wrapper_call(wrapper: EnvWrapper) -> tuple[str, dict[str, Any]]:
    """Name and arguments of an entry of `env_wrapper`: `atari`, `{atari: {frame_skip: 4}}` or `{frame_stack: 4}`.

    Raises:
        UsageError: no such wrapper, or arguments that it does not take.
    """
    known = {**WRAPPERS, **_VECTOR_WRAPPERS}
    if isinstance(wrapper, str):
        name = wrapper
        value: Any = {}
    elif len(wrapper) == 1:
        name, value = next(iter(wrapper.items()))
    else:
        raise UsageError(f"env_wrapper has the entry {dict(wrapper)!r}, but an entry is one name, such as atari")
    arguments: dict[str, Any] = value if isinstance(value, dict) else {"value": value}
    if name not in known:
        raise UsageError(f"env_wrapper has no wrapper {name!r}; {did_you_mean(name, known)}")
    signature = inspect.signature(AtariWrapper if name == "atari" else known[name])
    try:
        signature.bind(None, **arguments)
    except TypeError as error:
        allowed = ", ".join(list(signature.parameters)[1:])
        raise UsageError(f"env_wrapper {name} got {arguments!r} ({error}); it takes {allowed}") from error
    return name, arguments


def _discount(config: "RunConfig") -> float:
    """The algorithm's gamma: as configured, else its constructor's default."""
    from agents import registry

    parameter = inspect.signature(registry.get(config.algo).cls.__init__).parameters.get("gamma")
    default = _DEFAULT_GAMMA if parameter is None else parameter.default
    return float(config.hyperparams.get("gamma", default))
