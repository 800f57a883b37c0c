"""`agents.load`."""

import io
from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from agents import registry
from agents.persistence import members
from agents.persistence.environments import Environment, as_vec_env, give_statistics, is_made_by_us
from agents.persistence.files import ModelPath, describe, open_for_reading
from agents.persistence.statistics import carry
from wrappers import frozen_from_arrays


def load(
    path: ModelPath,
    env: Environment | None = None,
    algo: str | type[BaseAlgorithm] | None = None,
    device: torch.device | str = "auto",
) -> BaseAlgorithm:
    """Read a model that `agents.save`, or SB3's `model.save`, wrote.

    Where the file has normalization statistics, `agents.predict` uses them, with or without an environment. An `env`
    is wrapped in a VecNormalize with these statistics, frozen, rewards left as they are. An `env` that has a
    VecNormalize already is not wrapped again: that wrapper takes over the file's statistics with `clip_obs`,
    `clip_reward`, `gamma` and `epsilon`, and keeps its own `training` and `norm_reward`, so that training can continue.
    A file without statistics leaves `env` as it is.

    Nothing is executed from the file beyond what SB3's own loader unpickles; load only files you trust.

    Args:
        path: a name, with or without ".zip", or an open binary stream.
        env: an id (made without a render mode), an Env, a VecEnv, a callable that returns either, or None.
        algo: registry key or class; needed where the file names none, as SB3's do. A class need not be registered.
        device: "auto" takes a GPU where there is one.

    Returns:
        The model.

    Raises:
        FileNotFoundError: no such file.
        TypeError: an argument is of another type than described.
        ValueError: the file is damaged or no model file; it names no algorithm and `algo` is not given, or another
            one than `algo`, or one that is not installed; the statistics or spaces do not fit `env`.
    """
    name = describe(path)
    with open_for_reading(path) as stream, ExitStack() as on_failure:
        contents = members.read(stream, name)
        cls = _class_of(contents, algo, name)
        venv = None
        if env is not None:
            venv = as_vec_env(env)
            if is_made_by_us(env):
                on_failure.callback(venv.close)
        try:
            model = _load_with_statistics(cls, stream, venv, contents.statistics, device)
        except Exception as error:
            if contents.algo is not None:
                raise
            raise ValueError(
                f"{name} cannot be loaded as {cls.__name__} ({type(error).__name__}: {error}); the file does not name "
                "its algorithm, so check that algo= and env= are those it was trained with."
            ) from error
        on_failure.pop_all()
    return model


def _load_with_statistics(
    cls: type[BaseAlgorithm],
    stream: io.BufferedIOBase,
    venv: VecEnv | None,
    statistics: Mapping[str, np.ndarray] | None,
    device: torch.device | str,
) -> BaseAlgorithm:
    if statistics is None:
        return cls.load(stream, env=venv, device=device)
    given = None if venv is None else unwrap_vec_normalize(venv)
    if venv is None:
        model = cls.load(stream, device=device)
    elif given is None:
        model = cls.load(stream, env=frozen_from_arrays(venv, statistics), device=device)
    else:
        model = cls.load(stream, env=venv, device=device)
        give_statistics(given, statistics)  # only now: where loading fails, the caller's wrapper is as it was
    carry(model, statistics)
    return model


def _class_of(contents: members.Contents, algo: str | type[BaseAlgorithm] | None, name: str) -> type[BaseAlgorithm]:
    """The class to load: the one recorded in the file, or the one asked for where there is no record."""
    wanted = registry.get(algo).cls if isinstance(algo, str) else algo
    if wanted is not None and not (isinstance(wanted, type) and issubclass(wanted, BaseAlgorithm)):
        raise TypeError(f"Got algo={algo!r}, but a registry key such as 'ppo' or an algorithm's class is needed.")
    if contents.algo is None:
        if wanted is None:
            raise ValueError(
                f"{name} does not name its algorithm, as files of SB3's model.save never do; "
                f"give algo=, one of {', '.join(registry.keys())}."
            )
        return wanted
    try:
        spec = registry.get(contents.algo)
        if spec.key != contents.algo:  # found by its class name, which others may have as well
            raise ValueError(f"There is only {spec.key!r}, of the class {spec.cls.__module__}.{spec.cls.__qualname__}.")
    except ValueError as error:
        raise ValueError(
            f"{name} holds a model of the algorithm {contents.algo!r} (class {contents.class_name}), which is not "
            f"available here: {error} Install the package that provides it, or register the class."
        ) from error
    if wanted not in (None, spec.cls):
        raise ValueError(
            f"{name} holds a model of the algorithm {contents.algo!r}, but algo={algo!r} was asked for; "
            "leave algo= out."
        )
    return spec.cls
