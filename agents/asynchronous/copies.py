"""How a worker gets an environment of its own.

An id or a callable is called in the worker. An instance is taken apart into SB3's vector wrappers (whose state travels
without what they wrap; they cannot be pickled whole) and the vector environment inside. All of it is copied by value
with cloudpickle in one piece, so that what its parts share they share in the copy. Where that fails, each environment
of a DummyVecEnv is copied for itself, by value or else rebuilt from its registration, which knows the wrappers that
``gymnasium.make`` and later ones recorded. SB3's Monitor records nothing; it is put back where it was.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle
import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, WrapperSpec, load_env_creator
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper, VecMonitor

from agents.asynchronous.errors import EnvironmentCopyError
from agents.asynchronous.monitors import PortableWriter
from agents.asynchronous.normalization import normalization_state, set_normalization_state
from agents.asynchronous.registrations import portable, register_all, registrations

EnvironmentLike = str | gym.Env[Any, Any] | VecEnv | Callable[[], gym.Env[Any, Any] | VecEnv]
EnvironmentFactory = Callable[[int], VecEnv]

_MONITOR = f"{Monitor.__module__}:{Monitor.__name__}"
# What a Monitor was told, and the zero of its episodes' times.
_MONITOR_SETTINGS = ("allow_early_resets", "reset_keywords", "info_keywords", "t_start")

_USE_A_CALLABLE = (
    "Pass a callable that makes the environment instead, and every worker calls it: "
    'A3C("MlpPolicy", lambda: gymnasium.make("CartPole-v1")).'
)


def resolve(env: EnvironmentLike) -> gym.Env[Any, Any] | VecEnv:
    """The environment that an id, a callable or an instance stands for.

    Ids are made without a render mode: rendering that nobody watches costs time (LunarLander simulates its particles
    only then).

    Raises:
        TypeError: something else was given, or a callable returned something else.
    """
    if isinstance(env, str):
        return gym.make(env)
    if isinstance(env, gym.Env | VecEnv):
        return env
    if callable(env):
        made = env()
        if isinstance(made, gym.Env | VecEnv):
            return made
        raise TypeError(
            f"The environment callable {env!r} returned {made!r}; it must return a Gymnasium environment or an SB3 "
            "VecEnv."
        )
    raise TypeError(
        f"env={env!r} is a {type(env).__name__}; it must be an environment id, a Gymnasium environment, an SB3 VecEnv, "
        "or a callable that returns either."
    )


@dataclass(frozen=True)
class CallInWorker:
    """Resolves an id or a callable in the worker and wraps the result as SB3's constructor does.

    Attributes:
        env: id or callable.
        registered: what the calling process had registered.
        normalization: state of the model's VecNormalize, which the callable's own would not have.
    """

    env: str | Callable[[], gym.Env[Any, Any] | VecEnv]
    registered: bytes
    normalization: dict[str, Any]

    def __call__(self, worker: int) -> VecEnv:
        """The environment of one worker."""
        register_all(self.registered)
        venv = BaseAlgorithm._wrap_env(resolve(self.env))
        set_normalization_state(venv, self.normalization)
        return venv


@dataclass(frozen=True)
class RebuildInWorker:
    """Puts a copy of an instance together again.

    Attributes:
        parts: pickled: the innermost vector environment, or the environments of a DummyVecEnv, each pickled for itself
            or with the registration to make it from; and SB3's vector wrappers from the innermost: class and
            attributes.
    """

    parts: bytes

    def __call__(self, worker: int) -> VecEnv:
        """The environment of one worker."""
        innermost, wrappers = cloudpickle.loads(self.parts)
        venv = innermost if isinstance(innermost, VecEnv) else _together(innermost)
        if isinstance(venv, DummyVecEnv):
            for env in venv.envs:
                for layer in _layers(env):
                    _write_to_own_file(layer, worker)
        for cls, state in wrappers:
            wrapper = cls.__new__(cls)
            wrapper.__dict__.update(state, venv=venv, class_attributes=dict(inspect.getmembers(cls)))
            _write_to_own_file(wrapper, worker)
            venv = wrapper
        return venv


def _together(parts: tuple[bytes | FromSpec, ...]) -> DummyVecEnv:
    envs = [part.make() if isinstance(part, FromSpec) else cloudpickle.loads(part) for part in parts]
    return DummyVecEnv([lambda env=env: env for env in envs])  # type: ignore[misc]


@dataclass(frozen=True)
class FromSpec:
    """An environment to be made from its registration.

    Attributes:
        spec: with the wrappers inside of the Monitor, or all where there is none.
        monitor: the Monitor's attributes to set, or None without one.
        outer: the wrappers around the Monitor, from the innermost.
    """

    spec: EnvSpec
    monitor: dict[str, Any] | None
    outer: tuple[WrapperSpec, ...]

    @classmethod
    def of(cls, spec: EnvSpec, monitor: dict[str, Any] | None) -> FromSpec:
        """From an environment's ``spec``, which lists the Monitor, too.

        Raises:
            EnvironmentCopyError: a wrapper did not record its arguments.
        """
        wrappers = spec.additional_wrappers
        names = [wrapper.entry_point for wrapper in wrappers]
        place = names.index(_MONITOR) if _MONITOR in names else len(wrappers)
        for wrapper in wrappers:
            if wrapper.kwargs is None and wrapper.entry_point != _MONITOR:
                raise EnvironmentCopyError(
                    f"The environment cannot be made anew in a worker because its wrapper {wrapper.name} is no "
                    f"gymnasium.utils.RecordConstructorArgs and so did not record its arguments. {_USE_A_CALLABLE}"
                )
        bare = copy.copy(portable(spec))
        bare.additional_wrappers = wrappers[:place]
        return cls(bare, monitor, wrappers[place + 1 :])

    def make(self) -> gym.Env[Any, Any]:
        """The environment."""
        env: gym.Env[Any, Any] = gym.make(self.spec)
        if self.monitor is not None:
            env = Monitor(env)
            vars(env).update(self.monitor)
        for wrapper in self.outer:
            env = load_env_creator(wrapper.entry_point)(env=env, **(wrapper.kwargs or {}))  # type: ignore[assignment]
        return env


def factory_for(given: EnvironmentLike | None, venv: VecEnv) -> EnvironmentFactory:
    """How workers make their copies.

    Args:
        given: what the user passed, where it is an id or a callable; else None.
        venv: the model's environment, copied where nothing was given; what is given makes its VecNormalize anew,
            which takes over the state of this one's.

    Raises:
        EnvironmentCopyError: the instance cannot be copied.
    """
    if given is not None and (isinstance(given, str) or not isinstance(given, gym.Env | VecEnv)):
        return CallInWorker(given, registrations(), normalization_state(venv))
    wrappers: list[tuple[type[VecEnvWrapper], dict[str, Any]]] = []
    inner: VecEnv = venv
    while isinstance(inner, VecEnvWrapper):
        wrappers.insert(0, (type(inner), _wrapper_state(inner)))
        inner = inner.venv
    inner = _without_open_files(inner)
    try:
        return RebuildInWorker(_pickled((inner, wrappers)))
    except Exception:  # noqa: BLE001 - any class may refuse to be pickled, in any way; what is in the way is found below
        innermost = _copy_apart(inner)
    try:
        return RebuildInWorker(cloudpickle.dumps((innermost, wrappers)))
    except Exception as error:
        culprit = next((cls for cls, state in wrappers if not travels(state)), type(venv))
        raise EnvironmentCopyError(
            f"The vector wrapper {culprit.__name__} cannot be copied into a worker: {error}. {_USE_A_CALLABLE}"
        ) from error


def _wrapper_state(wrapper: VecEnvWrapper) -> dict[str, Any]:
    state = {name: value for name, value in vars(wrapper).items() if name not in ("venv", "class_attributes")}
    if isinstance(wrapper, VecMonitor) and wrapper.results_writer is not None:
        state["results_writer"] = PortableWriter.of(wrapper)
    return state


def _copy_apart(venv: VecEnv) -> VecEnv | tuple[bytes | FromSpec, ...]:
    """The environments of ``venv``, each in a form that travels; or ``venv`` where it is the wrappers that do not."""
    if type(venv) is DummyVecEnv:
        return tuple(_copy_environment(env) for env in venv.envs)
    reason = "its environments live in other processes"
    if not isinstance(venv, SubprocVecEnv):
        try:
            _pickled(venv)
            return venv
        except Exception as error:  # noqa: BLE001 - any class may refuse to be pickled, in any way; the reason is told
            reason = f"it cannot be pickled ({error})"
    if isinstance(venv, DummyVecEnv | SubprocVecEnv) and type(venv) is not SubprocVecEnv:
        raise EnvironmentCopyError(
            f"The {type(venv).__name__} cannot be copied into a worker because {reason}, and made anew from "
            f"registrations it would be SB3's class and not what this one makes of it. {_USE_A_CALLABLE}"
        )
    specs: Sequence[EnvSpec | None] = venv.get_attr("spec") if venv.has_attr("spec") else [None]
    if any(spec is None for spec in specs):
        raise EnvironmentCopyError(
            f"A {type(venv).__name__} cannot be copied into a worker because {reason}, and its environments have no "
            f"registration to be made from again. {_USE_A_CALLABLE}"
        )
    monitors: list[dict[str, Any] | None] = [None] * venv.num_envs
    for i, monitored in enumerate(venv.env_is_wrapped(Monitor)):
        if monitored:
            monitors[i] = {name: venv.get_attr(name, i)[0] for name in _MONITOR_SETTINGS}
    copies = tuple(
        FromSpec.of(spec, monitor) for spec, monitor in zip(specs, monitors, strict=True) if spec is not None
    )
    _warn_rebuilt(type(venv).__name__, reason)
    return copies


def _copy_environment(env: gym.Env[Any, Any]) -> bytes | FromSpec:
    try:
        return _pickled(env)
    except Exception as error:
        spec = env.spec
        obstacle = _obstacle(env)
        if spec is None:
            raise EnvironmentCopyError(
                f"The environment cannot be copied into a worker because {obstacle} cannot be pickled ({error}), and "
                f"it has no registration to be made from again. {_USE_A_CALLABLE}"
            ) from error
        try:
            made = FromSpec.of(spec, _monitor_state(env))
            cloudpickle.dumps(made)
        except EnvironmentCopyError:
            raise
        except Exception as second:
            raise EnvironmentCopyError(
                f"The environment cannot be copied into a worker because {obstacle} cannot be pickled ({error}), nor "
                f"can its registration ({second}). {_USE_A_CALLABLE}"
            ) from second
        _warn_rebuilt(spec.id, f"{obstacle} cannot be pickled ({error})")
        return made


def _warn_rebuilt(name: str, reason: str) -> None:
    warnings.warn(
        f"The workers make {name} anew from its registration, because {reason}: attributes set after gymnasium.make "
        f"are lost. {_USE_A_CALLABLE}",
        UserWarning,
        stacklevel=2,
    )


def _obstacle(env: gym.Env[Any, Any]) -> str:
    """The innermost attribute of the environment's layers that cannot be pickled, in words."""
    layer: Any = env
    found = f"{type(env).__name__}"
    while layer is not None:
        for name, value in vars(layer).items():
            if name != "env" and not travels(value):
                found = f"{type(layer).__name__}.{name} (a {type(value).__name__})"
        layer = vars(layer).get("env")
    return found


def _pickled(value: Any) -> bytes:
    """By value; what cannot be read again is refused here, not in a worker."""
    pickled = cloudpickle.dumps(value)
    cloudpickle.loads(pickled)
    return pickled


def travels(value: Any) -> bool:
    """Whether a value can be pickled and read again."""
    try:
        _pickled(value)
    except Exception:  # noqa: BLE001 - any refusal, of any kind, means no
        return False
    return True


def _layers(env: gym.Env[Any, Any]) -> list[Any]:
    layers: list[Any] = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _monitor_state(env: gym.Env[Any, Any]) -> dict[str, Any] | None:
    for layer in _layers(env):
        if isinstance(layer, Monitor):
            return {name: getattr(layer, name) for name in (*_MONITOR_SETTINGS, "results_writer")}
    return None


def _without_open_files(venv: VecEnv) -> VecEnv:
    """A shallow copy with such environments, where ``venv`` is a DummyVecEnv that holds any that write a file."""
    if not isinstance(venv, DummyVecEnv):
        return venv
    envs = [_without_open_file(env) for env in venv.envs]
    if all(portable_env is env for portable_env, env in zip(envs, venv.envs, strict=True)):
        return venv
    twin = copy.copy(venv)
    twin.envs = envs
    return twin


def _without_open_file(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment with shallow copies of the layers down to a Monitor that writes a file; that becomes portable."""
    layers = _layers(env)
    writing = [i for i, layer in enumerate(layers) if isinstance(layer, Monitor) and layer.results_writer is not None]
    if not writing:
        return env
    below = layers[writing[-1] + 1]
    for layer in reversed(layers[: writing[-1] + 1]):
        twin = copy.copy(layer)
        twin.env = below
        if isinstance(twin, Monitor) and twin.results_writer is not None:
            twin.results_writer = PortableWriter.of(twin)  # type: ignore[assignment]
        below = twin
    return below


def _write_to_own_file(layer: Any, worker: int) -> None:
    if isinstance(layer, Monitor | VecMonitor) and isinstance(layer.results_writer, PortableWriter):
        layer.results_writer = layer.results_writer.open_for(worker)
