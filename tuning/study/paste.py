"""A configuration as the Python call that makes its model."""

from collections.abc import Mapping
from typing import Any

from agents import registry
from tuning.config import RunConfig
from tuning.hyperparameters import ACTIVATIONS, NOISES, OPTIMIZERS


def constructor_call(config: RunConfig) -> str:
    """`A2C('MlpPolicy', env, n_steps=8, policy_kwargs={'activation_fn': torch.nn.ReLU})`, to be pasted into a script.

    Classes have their full names (`torch.nn.ReLU`, `stable_baselines3.common.utils.LinearSchedule`), so it is enough to
    import the packages they begin with. `env` is the environment with the configuration's wrappers and normalization.

    Args:
        config: resolved.
    """
    cls = registry.get(config.algo).cls
    arguments = [f"{name}={_argument(name, data)}" for name, data in config.hyperparams.items()]
    return f"{cls.__name__}({', '.join([repr(config.policy), 'env', *arguments])})"


def _argument(name: str, data: Any) -> str:
    if name == "action_noise" and isinstance(data, Mapping):
        zeros = "numpy.zeros(env.action_space.shape)"
        return f"{_full_name(NOISES[data['type']])}({zeros}, {zeros} + {data['sigma']!r})"
    if name == "policy_kwargs" and isinstance(data, Mapping):
        return "{" + ", ".join(f"{key!r}: {_policy_argument(key, value)}" for key, value in data.items()) + "}"
    if name == "train_freq" and isinstance(data, list):
        return repr(tuple(data))
    if isinstance(data, Mapping) and "schedule" in data:
        numbers = data["initial"], data.get("final", 0.0), data.get("end_fraction", 1.0)
        return f"stable_baselines3.common.utils.LinearSchedule({', '.join(map(repr, numbers))})"
    return repr(data)


def _policy_argument(key: str, value: Any) -> str:
    if key == "activation_fn":
        return _full_name(ACTIVATIONS[value])
    if key == "optimizer_class":
        return _full_name(OPTIMIZERS[value])
    return repr(value)


def _full_name(cls: type) -> str:
    for package in ("torch.nn", "torch.optim"):  # what lies in private modules or is not an attribute by its module
        if cls.__module__.startswith(f"{package}."):
            return f"{package}.{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"
