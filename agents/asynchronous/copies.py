"""How a worker gets an environment of its own.

An id or a callable is called in the worker. An instance is taken apart into SB3's vector wrappers (whose state travels
without what they wrap; they cannot be pickled whole) and the environments inside, each of which is copied by value with
cloudpickle; where that fails, it is rebuilt from its registration, which knows the wrappers that ``gymnasium.make`` and
later ones recorded.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle
import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor

from agents.asynchronous.errors import EnvironmentCopyError

EnvironmentLike = str | gym.Env[Any, Any] | VecEnv | Callable[[], gym.Env[Any, Any] | VecEnv]
EnvironmentFactory = Callable[[int], VecEnv]

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
    """Resolves an id or a callable in the worker and wraps the result as SB3's constructor does."""

    env: str | Callable[[], gym.Env[Any, Any] | VecEnv]

    def __call__(self, worker: int) -> VecEnv:
        """The environment of one worker."""
        return BaseAlgorithm._wrap_env(resolve(self.env))


@dataclass(frozen=True)
class RebuildInWorker:
    """Puts copies of environments together again as the instance that they were taken from.

    Attributes:
        environments: pickled by value, or the registration to make them from, with whether a Monitor was around it.
        wrappers: SB3's vector wrappers from the innermost: class and attributes.
    """

    environments: tuple[bytes | _FromSpec, ...]
    wrappers: tuple[tuple[type[VecEnvWrapper], dict[str, Any]], ...]

    def __call__(self, worker: int) -> VecEnv:
        """The environment of one worker."""
        envs = [part.make() if isinstance(part, _FromSpec) else cloudpickle.loads(part) for part in self.environments]
        for env in envs:
            _write_to_own_file(env, worker)
        venv: VecEnv = DummyVecEnv([lambda env=env: env for env in envs])  # type: ignore[misc]
        for cls, state in self.wrappers:
            wrapper = cls.__new__(cls)
            wrapper.__dict__.update(state, venv=venv)
            if isinstance(wrapper, VecMonitor) and wrapper.results_writer is not None:
                wrapper.results_writer = _own_writer(wrapper.results_writer, worker)
            venv = wrapper
        return venv


@dataclass(frozen=True)
class _FromSpec:
    spec: EnvSpec
    monitored: bool

    def make(self) -> gym.Env[Any, Any]:
        env: gym.Env[Any, Any] = gym.make(self.spec)
        return Monitor(env) if self.monitored else env


@dataclass
class _PortableWriter:
    """Where a Monitor wrote, in place of its open file, which cannot travel."""

    filename: str
    header: dict[str, Any]
    extra_keys: tuple[str, ...]


def factory_for(given: EnvironmentLike | None, venv: VecEnv) -> EnvironmentFactory:
    """How workers make their copies.

    Args:
        given: what the user passed, where it is an id or a callable; else None.
        venv: the model's environment, copied where nothing was given.

    Raises:
        EnvironmentCopyError: the instance cannot be copied.
    """
    if given is not None and (isinstance(given, str) or not isinstance(given, gym.Env | VecEnv)):
        return CallInWorker(given)
    wrappers: list[tuple[type[VecEnvWrapper], dict[str, Any]]] = []
    inner: VecEnv = venv
    while isinstance(inner, VecEnvWrapper):
        wrappers.append((type(inner), _wrapper_state(inner)))
        inner = inner.venv
    factory = RebuildInWorker(_copy_environments(inner), tuple(reversed(wrappers)))
    try:
        cloudpickle.dumps(factory)
    except Exception as error:
        culprit = next((cls for cls, state in wrappers if not _travels(state)), type(venv))
        raise EnvironmentCopyError(
            f"The vector wrapper {culprit.__name__} cannot be copied into a worker: {error}. {_USE_A_CALLABLE}"
        ) from error
    return factory


def _wrapper_state(wrapper: VecEnvWrapper) -> dict[str, Any]:
    state = {name: value for name, value in wrapper.__dict__.items() if name not in ("venv", "class_attributes")}
    state["class_attributes"] = {}
    if isinstance(wrapper, VecMonitor) and wrapper.results_writer is not None:
        state["results_writer"] = _portable_writer(wrapper.results_writer)
    return state


def _copy_environments(venv: VecEnv) -> tuple[bytes | _FromSpec, ...]:
    if isinstance(venv, DummyVecEnv):
        return tuple(_copy_environment(env) for env in venv.envs)
    specs: Sequence[EnvSpec | None] = venv.get_attr("spec")
    if any(spec is None for spec in specs):
        raise EnvironmentCopyError(
            f"A {type(venv).__name__} holds its environments in other processes, and they have no registration to be "
            f"made from again. {_USE_A_CALLABLE}"
        )
    monitored = all(venv.env_is_wrapped(Monitor))
    _warn_rebuilt(type(venv).__name__, "its environments live in other processes")
    return tuple(_FromSpec(spec, monitored) for spec in specs if spec is not None)


def _copy_environment(env: gym.Env[Any, Any]) -> bytes | _FromSpec:
    opened = _without_open_file(env)
    try:
        pickled = cloudpickle.dumps(opened)
        cloudpickle.loads(pickled)
        return pickled
    except Exception as error:
        spec = env.spec
        obstacle = _obstacle(opened)
        if spec is None:
            raise EnvironmentCopyError(
                f"The environment cannot be copied into a worker because {obstacle} cannot be pickled ({error}), and "
                f"it has no registration to be made from again. {_USE_A_CALLABLE}"
            ) from error
        try:
            cloudpickle.dumps(spec)
        except Exception as second:
            raise EnvironmentCopyError(
                f"The environment cannot be copied into a worker because {obstacle} cannot be pickled ({error}), nor "
                f"can its registration ({second}). {_USE_A_CALLABLE}"
            ) from second
        _warn_rebuilt(spec.id, f"{obstacle} cannot be pickled ({error})")
        return _FromSpec(spec, _has_monitor(env))


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
            if name != "env" and not _travels(value):
                found = f"{type(layer).__name__}.{name} (a {type(value).__name__})"
        layer = vars(layer).get("env")
    return found


def _travels(value: Any) -> bool:
    try:
        cloudpickle.loads(cloudpickle.dumps(value))
    except Exception:  # noqa: BLE001 - any refusal, of any kind, means no
        return False
    return True


def _layers(env: gym.Env[Any, Any]) -> list[Any]:
    layers: list[Any] = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _has_monitor(env: gym.Env[Any, Any]) -> bool:
    return any(isinstance(layer, Monitor) for layer in _layers(env))


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
            twin.results_writer = _portable_writer(twin.results_writer)  # type: ignore[assignment]
        below = twin
    return below


def _portable_writer(writer: ResultsWriter) -> _PortableWriter:
    fields = writer.logger.fieldnames
    return _PortableWriter(writer.file_handler.name, {}, tuple(name for name in fields if name not in ("r", "l", "t")))


def _write_to_own_file(env: gym.Env[Any, Any], worker: int) -> None:
    for layer in _layers(env):
        if isinstance(layer, Monitor) and layer.results_writer is not None:
            layer.results_writer = _own_writer(layer.results_writer, worker)


def _own_writer(writer: Any, worker: int) -> ResultsWriter:
    """A Monitor file of the worker's own beside the given one; SB3's ``load_results`` reads all of a folder."""
    assert isinstance(writer, _PortableWriter)
    folder, name = os.path.split(writer.filename)
    stem = name.removesuffix(Monitor.EXT).rstrip(".")
    own = os.path.join(folder, f"{stem}.worker{worker}.{Monitor.EXT}".lstrip("."))
    return ResultsWriter(own, header={"worker": worker}, extra_keys=writer.extra_keys)
