"""What a trial offers to be pasted makes the model that the trial trained."""

import numpy
import pytest
import stable_baselines3
import torch

from agents import registry
from tuning import environments
from tuning.config import resolve
from tuning.hyperparameters import constructor_arguments
from tuning.study.paste import constructor_call


@pytest.mark.parametrize(
    ("algo", "env_id", "hyperparams"),
    [
        ("a2c", "CartPole-v1", {"policy_kwargs.activation_fn": "relu", "policy_kwargs.optimizer_class": "adam"}),
        ("ppo", "CartPole-v1", {"learning_rate": {"schedule": "linear", "initial": 0.5, "final": 0.25}}),
        (
            "td3",
            "Pendulum-v1",
            {"action_noise": {"type": "ornstein_uhlenbeck", "sigma": 0.5}, "train_freq": [2, "episode"]},
        ),
    ],
)
def test_the_pasted_call_has_the_arguments_of_the_run(algo, env_id, hyperparams):
    config = resolve(algo, env_id, hyperparams=hyperparams)
    env = environments.training_env(config)
    names = {"numpy": numpy, "torch": torch, "stable_baselines3": stable_baselines3, "env": env}
    cls = registry.get(algo).cls
    policy, pasted_env, arguments = eval(  # only this test evaluates it
        constructor_call(config), names | {cls.__name__: lambda policy, env, **arguments: (policy, env, arguments)}
    )
    wanted = constructor_arguments(cls, config.policy, config.hyperparams, env.action_space)
    assert (policy, pasted_env) == (config.policy, env)
    assert arguments.keys() == wanted.keys()
    for name, value in wanted.items():
        if name == "action_noise":
            assert type(arguments[name]) is type(value)
            assert arguments[name]._sigma == value._sigma
        elif callable(value):
            assert [arguments[name](left) for left in (1.0, 0.5, 0.0)] == [value(left) for left in (1.0, 0.5, 0.0)]
        else:
            assert arguments[name] == value
    env.close()
