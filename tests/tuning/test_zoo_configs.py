"""Every configuration that ships is a working one."""

import math
from inspect import signature

import numpy as np
import pytest
import yaml
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents import registry
from tuning.config import resolve, zoo_environments, zoo_file, zoo_folder
from tuning.training import build_model

DISCRETE = ["CartPole-v1", "Acrobot-v1"]
CONTINUOUS = ["Pendulum-v1", "MountainCarContinuous-v0"]
EXPECTED = {
    **dict.fromkeys(("ppo", "a2c", "trpo"), DISCRETE + CONTINUOUS),
    "a3c": DISCRETE + CONTINUOUS + ["LunarLander-v3", "actorzoo/MaskedCartPole-v0"],
    **dict.fromkeys(("sac", "td3", "ddpg"), CONTINUOUS),
    "dqn": DISCRETE,
    **{algo: ["CartPole-v1", "LunarLander-v3"] for algo in ("asyncqlearning", "asyncsarsa", "asyncnstepq")},
    "offpac": ["CartPole-v1"],
}
ENTRIES = [(path.stem, env) for path in sorted(zoo_folder().glob("*.yml")) for env in zoo_environments(path.stem)]


@pytest.mark.parametrize("algo", EXPECTED)
def test_each_algorithm_has_settings_for_each_environment_it_can_act_in(algo):
    assert set(EXPECTED[algo]) <= set(zoo_environments(algo))


def test_each_file_belongs_to_an_algorithm():
    assert {path.stem for path in zoo_folder().glob("*.yml")} <= set(registry.keys())


@pytest.mark.parametrize("algo", EXPECTED)
def test_values_are_numbers_not_expressions(algo):
    # `lin_0.001` or "dict(net_arch=[64])" would have to be evaluated as code, and `1e-3` is text to other readers
    def texts(value, path=()):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from texts(inner, (*path, key))
        elif isinstance(value, list):
            for inner in value:
                yield from texts(inner, path)
        elif isinstance(value, str):
            yield path[-1], value

    content = yaml.safe_load(zoo_file(algo).read_text())
    words = {"schedule", "type", "policy", "ent_coef", "activation_fn", "train_freq", "shared_optimizer"}
    words |= {"import_modules"}  # names of modules
    words |= {"choices", "becomes", "default"}  # of a search space, whose own schema checks them
    assert {key for key, _ in texts(content)} <= words


@pytest.mark.parametrize(("algo", "env"), ENTRIES)
def test_the_configuration_builds_its_model_and_trains(algo, env):
    config = resolve(algo, env)
    assert config.n_timesteps >= 10_000
    replays = "buffer_size" in signature(registry.get(algo).cls.__init__).parameters
    cheap = {"learning_starts": 4, "buffer_size": 100} if replays else {}
    if registry.get(algo).asynchronous:
        cheap["n_workers"] = 1  # processes are started elsewhere
    model = build_model(resolve(algo, env, hyperparams=cheap))
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    try:
        model.learn(_steps_until_an_update(model))
    finally:
        model.get_env().close()
    after = [parameter.detach() for parameter in model.policy.parameters()]
    assert any(not np.array_equal(old, new) for old, new in zip(before, after, strict=True)), "nothing was learned"
    assert all(math.isfinite(parameter.sum()) for parameter in after)


def _steps_until_an_update(model):
    if isinstance(model, OnPolicyAlgorithm):
        # after the only rollout of a run, a linear schedule has fallen to 0 and nothing would be learned
        rollouts = 2 if callable(model.learning_rate) else 1
        return rollouts * model.n_steps * model.n_envs
    if isinstance(model, OffPolicyAlgorithm):
        return model.n_envs * (5 + model.train_freq.frequency)
    return 2 * model.n_steps * model.n_envs
