"""Hyperparameters as data, and the constructor arguments they stand for.

A configuration holds numbers, texts, lists and mappings only. What a constructor wants as an object is written as:

| argument | data | becomes |
|---|---|---|
| any that takes a schedule | `{schedule: linear, initial: 0.001}` (`final: 0`, `end_fraction: 1`) | `LinearSchedule` |
| `action_noise` | `{type: normal, sigma: 0.1}` or `{type: ornstein_uhlenbeck, sigma: 0.5}` | SB3's noise |
| `train_freq` | `[1, episode]` | `(1, "episode")` |
| `policy_kwargs: activation_fn` | `relu`, `tanh`, ... | `torch.nn.ReLU`, `torch.nn.Tanh`, ... |
| `policy_kwargs: optimizer_class` | `adam`, `rmsprop`, ... | `torch.optim.Adam`, ... |

Names and types are compared with the signature of the algorithm's own constructor, so algorithms of other packages
are checked as well as the built-in ones.
"""

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import ActionNoise, NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.utils import LinearSchedule

from tuning.errors import UsageError, did_you_mean

Describe = Callable[[tuple[str, ...]], str]

# Constructor arguments that a run sets itself, and how its user sets them
MANAGED = {
    "policy": "the key policy of the configuration",
    "env": "--env",
    "seed": "--seed",
    "device": "--device",
    "verbose": "--progress or --no-progress",
    "tensorboard_log": "nothing, a run keeps its own records",
    "_init_setup_model": "nothing",
}

ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "elu": torch.nn.ELU,
    "gelu": torch.nn.GELU,
    "leaky_relu": torch.nn.LeakyReLU,
    "relu": torch.nn.ReLU,
    "sigmoid": torch.nn.Sigmoid,
    "silu": torch.nn.SiLU,
    "softplus": torch.nn.Softplus,
    "tanh": torch.nn.Tanh,
}
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "rmsprop_tf_like": RMSpropTFLike,
    "sgd": torch.optim.SGD,
}
NOISES: dict[str, type[NormalActionNoise] | type[OrnsteinUhlenbeckActionNoise]] = {
    "normal": NormalActionNoise,
    "ornstein_uhlenbeck": OrnsteinUhlenbeckActionNoise,
}
_SCHEDULE_KEYS = {"schedule", "initial", "final", "end_fraction"}
_NOISE_KEYS = {"type", "sigma"}


def constructor_arguments(
    cls: type[BaseAlgorithm],
    policy: str,
    hyperparams: Mapping[str, Any],
    action_space: spaces.Space[Any],
    place: Describe = lambda _: "",
) -> dict[str, Any]:
    """Turn data into keyword arguments, checked against the constructor's signature.

    Args:
        cls: the algorithm.
        policy: a name among the class's `policy_aliases`.
        hyperparams: the arguments as data; those that are missing keep the constructor's defaults.
        action_space: gives action noise its dimension.
        place: where a path of keys was written, in words, for messages.

    Returns:
        What to pass to the constructor besides policy, environment, seed and device.

    Raises:
        UsageError: an argument that does not exist or is the run's own, or a value of another type.
    """
    signature = inspect.signature(cls.__init__).parameters
    names = argument_names(cls)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature.values())
    arguments = {}
    for name, data in hyperparams.items():
        where = _prefix(place((name,)))
        if name in MANAGED:
            raise UsageError(f"{where}{name} is no hyperparameter of a run; it is set by {MANAGED[name]}")
        if name not in names and not takes_any:
            raise UsageError(f"{where}{cls.__name__} has no hyperparameter {name!r}; {did_you_mean(name, names)}")
        try:
            value = _build(name, data, cls, policy, action_space)
            annotation = signature[name].annotation if name in names else Any
            arguments[name] = _checked(value, _resolved(annotation, cls))
        except _WrongValueError as error:
            raise UsageError(f"{where}{name} of {cls.__name__} {error}") from error
    return arguments


def argument_names(cls: type[BaseAlgorithm]) -> list[str]:
    """The constructor's arguments that are hyperparameters: all but those that a run sets itself."""
    signature = inspect.signature(cls.__init__).parameters
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = [name for name, parameter in signature.items() if parameter.kind not in variadic]
    return [name for name in named if name not in MANAGED and name != "self"]


class _WrongValueError(Exception):
    """The end of a sentence that begins with the hyperparameter's name."""


def _build(name: str, data: Any, cls: type[BaseAlgorithm], policy: str, action_space: spaces.Space[Any]) -> Any:
    """The object that data stands for; other data stays as it is."""
    if name == "action_noise" and data is not None:
        return _noise(data, action_space)
    if name == "policy_kwargs" and isinstance(data, dict):
        return _policy_kwargs(data, cls.policy_aliases.get(policy))
    if isinstance(data, dict) and "schedule" in data:
        return _schedule(data)
    return data


def _schedule(data: Mapping[str, Any]) -> LinearSchedule:
    _check_keys(data, _SCHEDULE_KEYS, required={"initial"})
    if data["schedule"] != "linear":
        raise _WrongValueError(f"has schedule {data['schedule']!r}; the one there is is linear")
    numbers = {"initial": data["initial"], "final": data.get("final", 0.0), "end_fraction": data.get("end_fraction", 1)}
    for key, number in numbers.items():
        if not _is_number(number):
            raise _WrongValueError(f"has {key} {number!r}, which must be a number, such as 0.001")
    if not 0 < numbers["end_fraction"] <= 1:
        raise _WrongValueError(
            f"has end_fraction {numbers['end_fraction']}, which must lie in (0, 1]; 1 is the whole run"
        )
    return LinearSchedule(numbers["initial"], numbers["final"], numbers["end_fraction"])


def _noise(data: Any, action_space: spaces.Space[Any]) -> ActionNoise:
    if not isinstance(data, dict):
        raise _WrongValueError(f"is {data!r}, but it is written {{type: normal, sigma: 0.1}}")
    _check_keys(data, _NOISE_KEYS, required=_NOISE_KEYS)
    noise = _by_name("type", data["type"], NOISES)
    if not _is_number(data["sigma"]) or data["sigma"] < 0:
        raise _WrongValueError(f"has sigma {data['sigma']!r}, which must be a number of at least 0, such as 0.1")
    if not isinstance(action_space, spaces.Box):
        raise _WrongValueError(f"needs continuous actions, but the environment has {action_space}; leave it out")
    zeros = np.zeros(action_space.shape)
    return noise(mean=zeros, sigma=zeros + data["sigma"])


def _policy_kwargs(data: Mapping[str, Any], policy_class: type | None) -> dict[str, Any]:
    if policy_class is not None:
        signature = inspect.signature(policy_class).parameters
        takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature.values())
        names = set(signature) - {"observation_space", "action_space", "lr_schedule"}
        for key in data:
            if key not in names and not takes_any:
                raise _WrongValueError(f"has the key {key!r}; {did_you_mean(str(key), names)}")
    arguments = dict(data)
    for key, named in (("activation_fn", ACTIVATIONS), ("optimizer_class", OPTIMIZERS)):
        if key in arguments:
            arguments[key] = _by_name(key, arguments[key], named)
    return arguments


def _by_name(key: str, name: Any, named: Mapping[str, Any]) -> Any:
    if not isinstance(name, str) or name not in named:
        raise _WrongValueError(f"has {key} {name!r}; {did_you_mean(str(name), named)}")
    return named[name]


def _check_keys(data: Mapping[str, Any], allowed: set[str], required: set[str]) -> None:
    for key in data:
        if key not in allowed:
            raise _WrongValueError(f"has the key {key!r}; {did_you_mean(str(key), allowed)}")
    for key in sorted(required - set(data)):
        raise _WrongValueError(f"lacks the key {key}; it has {', '.join(data)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked(value: Any, annotation: Any) -> Any:
    """The value, or its equal of the annotated type: a whole float as int, a list as tuple.

    An annotation that cannot be checked (an unresolved forward reference, say) accepts everything; the constructor
    then speaks for itself.
    """
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    except PydanticUserError as error:
        # a class with its own settings refuses others, but is checked by itself
        if not isinstance(error, PydanticSchemaGenerationError) and error.code == "type-adapter-config-unused":
            adapter = TypeAdapter(annotation)
        else:
            return value
    equals = [value]
    if isinstance(value, float) and value.is_integer():
        equals.append(int(value))
    if isinstance(value, list):
        equals.append(tuple(value))
    for equal in equals:
        try:
            adapter.validate_python(equal)
        except ValidationError:
            continue
        return equal
    raise _WrongValueError(f"is {value!r}, but it must be {_in_words(annotation)}")


def _resolved(annotation: Any, cls: type) -> Any:
    """The annotation itself; one written as text (`from __future__ import annotations`) is looked up in its module."""
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        return typing.get_type_hints(
            types.SimpleNamespace(__annotations__={"it": annotation}), vars(sys.modules[cls.__module__])
        )["it"]
    except (NameError, TypeError):  # names that exist for type checkers only
        return Any


def _in_words(annotation: Any) -> str:
    """`float | Schedule` -> "float or {schedule: linear, initial: ...}"."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_in_words(argument) for argument in arguments))
    if annotation is type(None) or annotation is None:
        return "null"
    if Callable in (annotation, origin):
        return "{schedule: linear, initial: ...}"
    if isinstance(annotation, type) and origin is None:
        return {"str": "text", "bool": "true or false"}.get(annotation.__name__, annotation.__name__)
    if origin in (dict, Mapping):
        return "a mapping"
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if isinstance(origin, type):
        return f"{origin.__name__} of {', '.join(_in_words(argument) for argument in arguments)}"
    return str(annotation)


def _prefix(place: str) -> str:
    return f"{place}: " if place else ""
