"""What the drop-in tests share: which algorithms, and small models of them."""

from typing import Any

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

import agents
from agents.asynchronous.algorithm import AsynchronousAlgorithm

VALUE_METHODS: tuple[type[AsynchronousAlgorithm], ...] = (
    agents.AsyncQLearning,
    agents.AsyncSarsa,
    agents.AsyncNStepQ,
)
METHODS: tuple[type[AsynchronousAlgorithm], ...] = (agents.A3C, *VALUE_METHODS)

each_method = pytest.mark.parametrize("cls", METHODS, ids=lambda cls: cls.__name__)
each_value_method = pytest.mark.parametrize("cls", VALUE_METHODS, ids=lambda cls: cls.__name__)
# of the value methods only the target differs; where a behavior is the engine's, one of them stands for all
both_kinds = pytest.mark.parametrize("cls", [agents.A3C, agents.AsyncNStepQ], ids=lambda cls: cls.__name__)
one_and_two_workers = pytest.mark.parametrize("n_workers", [1, 2], ids=["1worker", "2workers"])


def small(cls: type[BaseAlgorithm], env: Any = "CartPole-v1", policy: Any = "MlpPolicy", **arguments: Any) -> Any:
    """A model with a small network, one worker and a seed, unless told otherwise."""
    settings: dict[str, Any] = {"n_workers": 1, "seed": 0, **arguments}
    settings["policy_kwargs"] = {"net_arch": [8], **settings.get("policy_kwargs", {})}
    return cls(policy, env, **settings)
