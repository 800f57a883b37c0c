"""Every search space that ships gives configurations that train."""

import optuna
import pytest

from agents import registry
from tuning import search_space
from tuning.config import resolve, zoo_environments, zoo_file, zoo_folder
from tuning.hyperparameters import argument_names
from tuning.study.plan import plan_study
from tuning.training import build_model
from tuning.yaml_files import read_yaml

N_SAMPLES, N_STEPS = 20, 64
ALGOS = [path.stem for path in sorted(zoo_folder().glob("*.yml")) if "search_space" in read_yaml(path).data]


@pytest.mark.parametrize("algo", ["a2c", "a3c", "ddpg", "dpg", "dqn", "offpac", "ppo", "sac", "td3", "trpo"])
def test_the_zoo_has_a_search_space_for(algo):
    assert "search_space" in read_yaml(zoo_file(algo)).data


@pytest.mark.parametrize("algo", ALGOS)
def test_twenty_samples_of_the_search_space_train(algo):
    env = zoo_environments(algo)[0]
    space = search_space.find(algo, env)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(N_SAMPLES):
        sampled = space.sample(study.ask())
        config = resolve(algo, env, hyperparams=sampled)  # as sampled: names, types, ranges
        model = build_model(resolve(algo, env, hyperparams=sampled | _cheap(algo, config.hyperparams)))
        try:
            model.learn(N_STEPS)
        finally:
            model.get_env().close()
        assert model.num_timesteps >= N_STEPS


def _cheap(algo, hyperparams):
    """What keeps a sample from collecting thousands of steps before its first update: length, never kind."""
    cheap = {"n_envs": 1}
    if "buffer_size" in argument_names(registry.get(algo).cls):
        cheap |= {"learning_starts": 32, "buffer_size": 1000, "batch_size": min(hyperparams["batch_size"], 32)}
        cheap |= {"train_freq": min(hyperparams["train_freq"], 32)}
        if hyperparams.get("gradient_steps", 1) > 1:
            cheap["gradient_steps"] = 2
    elif "n_steps" in hyperparams:
        cheap["n_steps"] = min(hyperparams["n_steps"], N_STEPS)
    if "n_epochs" in hyperparams:
        cheap["n_epochs"] = min(hyperparams["n_epochs"], 2)
    if registry.get(algo).asynchronous:
        cheap["n_workers"] = 1
    return cheap


def test_networks_of_dpg_have_the_step_sizes_of_adam_and_tiles_those_of_sgd():
    """The zoo's only environment has tiles; an environment without an entry has the default policy, a network."""
    space = search_space.find("dpg", "MountainCarContinuous-v0")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(6):
        sampled = space.sample(study.ask())
        assert sampled["critic_learning_rate"] <= 0.01
        config = resolve("dpg", "MountainCarContinuous-v0", hyperparams=sampled)
        model = build_model(config)
        assert not model.is_linear
        model.learn(8)
        model.get_env().close()
    assert "policy_kwargs.n_tiles" in search_space.find("dpg", "Pendulum-v1").dimensions


def test_tiles_of_offpac_have_step_sizes_and_traces_of_their_own_and_nothing_of_networks():
    tiles = "actorzoo/ContinuousGridWorld-v0"
    space = search_space.find("offpac", tiles)
    assert not {"batch_size", "ent_coef", "policy_kwargs.net_arch"} & set(space.dimensions)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    emphases = set()
    for _ in range(6):
        model = build_model(resolve("offpac", tiles, hyperparams=space.sample(study.ask())))
        assert model.is_linear
        emphases.add(model.emphasis)
        model.learn(N_STEPS)
        model.get_env().close()
    assert len(emphases) == 6


@pytest.mark.parametrize("algo", ALGOS)
def test_a_study_of_each_environment_can_be_planned(algo):
    for env in zoo_environments(algo):
        plan_study(algo, env)
