"""Saving and loading as SB3's tests ask of A2C and DQN: files, parameters, optimizers, policies, environments."""

import copy
import io
import zipfile
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.envs import FakeImageEnv, IdentityEnvBox
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.dqn.policies import DQNPolicy

import agents
from tests.agents.drop_in import both_kinds, each_method, one_and_two_workers, small
from tests.agents.toys import Counter, RandomEnv, Unpicklable

OBSERVATIONS = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


def states_of(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """Everything that is saved of the policy, copied."""
    return {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}


def assert_same_states(model: BaseAlgorithm, states: dict[str, torch.Tensor]) -> None:
    found = model.policy.state_dict()
    assert found.keys() == states.keys()
    for name, tensor in states.items():
        assert torch.equal(found[name], tensor), name


def reloaded(model: Any, **arguments: Any) -> Any:
    stream = io.BytesIO()
    model.save(stream)
    stream.seek(0)
    return type(model).load(stream, **arguments)


def test_a_file_is_no_larger_than_a2cs() -> None:
    """The optimizer's statistics are views of one vector; written once a view they would be the bulk of the file."""
    sizes = []
    for model in (A2C("MlpPolicy", "CartPole-v1"), agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1)):
        model.learn(20)
        stream = io.BytesIO()
        model.save(stream)
        sizes.append(zipfile.ZipFile(stream).getinfo("policy.optimizer.pth").file_size)
    assert sizes[1] < 1.1 * sizes[0]


@each_method
@one_and_two_workers
def test_what_is_loaded_acts_as_what_was_saved_and_learns_on(cls: Any, n_workers: int, tmp_path: Path) -> None:
    model = small(cls, n_workers=n_workers).learn(60)
    # other parameters than any learning would give
    model.policy.load_state_dict({k: torch.rand_like(v) for k, v in model.policy.state_dict().items()})
    states, actions = states_of(model), model.predict(OBSERVATIONS, deterministic=True)[0]
    model.save(tmp_path / "model.zip")
    loaded = cls.load(str(tmp_path / "model"), env="CartPole-v1")
    assert_same_states(loaded, states)
    np.testing.assert_array_equal(loaded.predict(OBSERVATIONS, deterministic=True)[0], actions)
    assert loaded.policy.optimizer.param_groups[0]["lr"] == model.policy.optimizer.param_groups[0]["lr"]
    loaded.learn(40)
    assert any(not torch.equal(v, states[k]) for k, v in loaded.policy.state_dict().items())


@both_kinds
@pytest.mark.parametrize("kind", ["text", "path", "open file"])
def test_paths_and_open_files_are_written_to_and_read_from(cls: Any, kind: str, tmp_path: Path) -> None:
    model, path = small(cls), tmp_path / "model.zip"
    if kind == "open file":
        with path.open("wb+") as stream:
            model.save(stream)
            stream.seek(0)
            loaded = cls.load(stream)
    else:
        model.save(str(path) if kind == "text" else path)
        loaded = cls.load(str(path) if kind == "text" else path)
    assert_same_states(loaded, states_of(model))


@both_kinds
def test_something_else_than_a_file_is_refused(cls: Any) -> None:
    with pytest.raises(TypeError, match="Path 3 parameter has invalid type"):
        small(cls).save(3)


@both_kinds
def test_exclude_and_include_choose_what_is_saved(cls: Any, tmp_path: Path) -> None:
    model = small(cls, verbose=2)
    model.save(tmp_path / "without", exclude=["verbose"])
    assert cls.load(tmp_path / "without").verbose == 0
    model.save(tmp_path / "with", exclude=["verbose"], include=["verbose"])
    assert cls.load(tmp_path / "with").verbose == 2


@both_kinds
def test_arguments_of_load_and_custom_objects_replace_what_was_saved(cls: Any, tmp_path: Path) -> None:
    small(cls, learning_rate=1e-3, n_steps=7).save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", learning_rate=0.25, n_workers=2)
    assert (loaded.learning_rate, loaded.n_workers, loaded.n_steps) == (0.25, 2, 7)
    assert loaded.lr_schedule(0.5) == 0.25
    loaded = cls.load(tmp_path / "model", custom_objects={"learning_rate": 2e-6, "lr_schedule": lambda _: 2e-6})
    assert loaded.learning_rate == 2e-6
    with pytest.raises(ValueError, match="policy kwargs"):
        cls.load(tmp_path / "model", policy_kwargs={"net_arch": [3]})


@both_kinds
def test_a_wrong_argument_of_load_is_refused_as_the_constructors(cls: Any, tmp_path: Path) -> None:
    small(cls).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"gamma=7, but it must be a number in \[0, 1\]"):
        cls.load(tmp_path / "model", gamma=7)


@both_kinds
def test_a_learning_rate_schedule_is_saved(cls: Any) -> None:
    loaded = reloaded(small(cls, learning_rate=lambda remaining: 0.1 * remaining))
    assert loaded.lr_schedule(0.5) == pytest.approx(0.05)


@each_method
def test_a_model_that_never_learned_is_saved_as_well(cls: Any) -> None:
    model = small(cls)
    loaded = reloaded(model, env="CartPole-v1")
    assert_same_states(loaded, states_of(model))
    assert loaded.learn(20).num_timesteps == 20


# environments


@each_method
@one_and_two_workers
def test_without_an_environment_it_predicts_and_says_what_is_missing_to_learn(cls: Any, n_workers: int) -> None:
    loaded = reloaded(small(cls, n_workers=n_workers))
    assert loaded.get_env() is None
    loaded.predict(OBSERVATIONS)
    with pytest.raises(ValueError, match=r"no environment to learn in; call set_env, or load it with env="):
        loaded.learn(20)
    loaded.set_env("CartPole-v1")
    assert loaded.learn(20).num_timesteps == 20


@both_kinds
def test_load_takes_every_kind_of_environment_and_refuses_other_spaces(cls: Any) -> None:
    model = small(cls)
    for env in (
        "CartPole-v1",
        gym.make("CartPole-v1"),
        DummyVecEnv([lambda: gym.make("CartPole-v1")]),
        lambda: gym.make("CartPole-v1"),
    ):
        assert reloaded(model, env=env, n_workers=2).learn(10).num_timesteps == 10
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        reloaded(model, env=Counter())


@both_kinds
def test_a_model_of_images_is_loaded_and_goes_on_with_images_as_the_environment_gives_them(cls: Any) -> None:
    env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True)
    few = {"features_extractor_kwargs": {"features_dim": 8}}
    model = small(cls, env, "CnnPolicy", policy_kwargs=few).learn(10)
    image, _ = env.reset()
    for loaded in (reloaded(model), reloaded(model, env=env, n_workers=2)):
        if loaded.get_env() is None:
            loaded.set_env(env)
        assert loaded.predict(image, deterministic=True)[0] == model.predict(image, deterministic=True)[0]
        assert loaded.learn(10).num_timesteps == 10


@both_kinds
def test_a_model_is_loaded_for_another_number_of_environments(cls: Any) -> None:
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 3)
    loaded = reloaded(small(cls), env=env)
    assert loaded.n_envs == 3
    assert loaded.learn(30).num_timesteps == 30


@both_kinds
@one_and_two_workers
def test_force_reset_decides_whether_a_loaded_model_goes_on_in_its_episode(cls: Any, n_workers: int) -> None:
    model = small(cls, n_workers=n_workers).learn(20)
    assert reloaded(model, env=model.get_env(), force_reset=True)._last_obs is None
    assert reloaded(model, env=model.get_env(), force_reset=False)._last_obs is not None
    loaded = reloaded(model, env=model.get_env())
    assert loaded.learn(20, reset_num_timesteps=False).num_timesteps == 40


@both_kinds
@one_and_two_workers
def test_set_env_replaces_the_environment_and_keeps_it_where_it_is_the_same(cls: Any, n_workers: int) -> None:
    first, second, third = (RandomEnv(spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2)) for _ in range(3))
    model = small(cls, DummyVecEnv([lambda: first]), n_workers=n_workers).learn(20)
    model.set_env(DummyVecEnv([lambda: second]), force_reset=True)
    assert model._last_obs is None
    assert model.learn(20).num_timesteps == 20
    model.set_env(third)  # is wrapped
    assert model.learn(20).num_timesteps == 20
    own = model.get_env()
    model.set_env(own, force_reset=False)
    assert model._last_obs is not None
    assert model.learn(20, reset_num_timesteps=False).num_timesteps == 40
    assert model.get_env() is own
    model.set_env(own, force_reset=True)
    assert model._last_obs is None
    for wrong in (Counter(), "CartPole-v1"):
        with pytest.raises(ValueError, match="spaces do not match"):
            model.set_env(wrong)
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(DummyVecEnv([lambda: copy.deepcopy(second)] * 2))


def test_setting_a_models_own_environment_again_keeps_the_callable_that_made_it() -> None:
    """What cannot be copied by value can still be made in the workers."""
    model = small(agents.A3C, Unpicklable, n_workers=2)
    model.set_env(model.get_env(), force_reset=False)
    assert model.learn(20).num_timesteps == 20


def test_workers_of_a_loaded_model_call_the_callable_given_to_load() -> None:
    assert reloaded(small(agents.A3C, Counter()), env=Unpicklable, n_workers=2).learn(20).num_timesteps == 20


# parameters


@each_method
def test_parameters_are_got_and_set_by_name(cls: Any) -> None:
    model = small(cls).learn(30)
    parameters = copy.deepcopy(model.get_parameters())
    assert set(parameters) == {"policy", "policy.optimizer"}
    random = {"policy": {k: torch.rand_like(v) for k, v in parameters["policy"].items()}}
    model.set_parameters(random, exact_match=False)
    assert_same_states(model, random["policy"])
    model.set_parameters(parameters)
    assert_same_states(model, parameters["policy"])
    # and the vector that is learned in has them
    own = model.q_net if cls is not agents.A3C else model.policy
    flat = torch.cat([p.detach().reshape(-1) for p in own.parameters()])
    assert torch.equal(model._flat.vector, flat)
    model.learn(20)


@each_method
def test_parameters_that_do_not_match_are_refused(cls: Any) -> None:
    model = small(cls)
    parameters = copy.deepcopy(model.get_parameters())
    with pytest.raises(ValueError, match=r"Names of parameters do not match"):
        model.set_parameters({"policy": parameters["policy"]}, exact_match=True)
    with pytest.raises(ValueError, match=r"is an invalid object name"):
        model.set_parameters({**parameters, "nonsense": {}}, exact_match=True)
    missing = dict(list(parameters["policy"].items())[1:])
    with pytest.raises(RuntimeError, match=r"Missing key"):
        model.set_parameters({**parameters, "policy": missing}, exact_match=True)
    model.set_parameters({"policy": missing}, exact_match=False)


@each_method
@pytest.mark.parametrize("rule", ["rmsprop", "rmsprop-local", "momentum", "adam"])
def test_the_optimizers_statistics_are_saved_and_loaded(cls: Any, rule: str) -> None:
    model = small(cls, n_workers=2, shared_optimizer=rule).learn(60)
    loaded = reloaded(model)
    assert isinstance(loaded.policy.optimizer, torch.optim.Optimizer)
    ours, theirs = model.policy.optimizer.state_dict(), loaded.policy.optimizer.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"]
    any_number = False
    for index, state in ours["state"].items():
        for name, tensor in state.items():
            assert torch.equal(tensor, theirs["state"][index][name])
            any_number |= name != "step" and bool(tensor.any())
    assert any_number


@each_method
def test_set_parameters_restores_the_optimizer_too(cls: Any) -> None:
    model = small(cls).learn(40)
    parameters = copy.deepcopy(model.get_parameters())
    before = model.policy.optimizer.arrays["square_avg"].copy()
    model.learn(40)
    assert (model.policy.optimizer.arrays["square_avg"] != before).any()
    model.set_parameters(parameters)
    np.testing.assert_array_equal(model.policy.optimizer.arrays["square_avg"], before)


# policies


@both_kinds
@pytest.mark.parametrize("kind", ["Mlp", "Cnn"])
def test_a_policy_alone_is_saved_and_loaded(cls: Any, kind: str, tmp_path: Path) -> None:
    env: Any = "CartPole-v1"
    arguments: dict[str, Any] = {}
    if kind == "Cnn":
        env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True)
        arguments = {"features_extractor_kwargs": {"features_dim": 8}}
    model = small(cls, env, f"{kind}Policy", policy_kwargs=arguments).learn(10)
    model.policy.save(str(tmp_path / "policy"))
    loaded = type(model.policy).load(str(tmp_path / "policy"))
    observation = model.observation_space.sample()
    found = loaded.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(found, model.policy.predict(observation, deterministic=True)[0])
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_q_network_alone_is_saved_and_loaded(tmp_path: Path) -> None:
    model = small(agents.AsyncQLearning).learn(30)
    model.q_net.save(str(tmp_path / "q"))
    loaded = type(model.q_net).load(str(tmp_path / "q"))
    tensor = torch.as_tensor(OBSERVATIONS)
    with torch.no_grad():
        assert torch.equal(loaded(tensor), model.q_net(tensor))


def test_policies_are_sb3s_own_kinds_so_that_sb3_loads_them() -> None:
    """A file of A3C's policy parameters goes into A2C's policy, one of a value method's into DQN's."""
    assert type(small(agents.A3C).policy) is ActorCriticPolicy
    assert type(small(agents.AsyncSarsa).policy) is DQNPolicy
    a2c = A2C("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]})
    model = small(agents.A3C).learn(40)
    a2c.policy.load_state_dict(model.policy.state_dict())
    expected = model.predict(OBSERVATIONS, deterministic=True)[0]
    np.testing.assert_array_equal(a2c.predict(OBSERVATIONS, deterministic=True)[0], expected)


# copies


def pickled(model: Any) -> Any:
    return cloudpickle.loads(cloudpickle.dumps(model))


@each_method
@one_and_two_workers
@pytest.mark.parametrize("make_copy", [copy.deepcopy, pickled])
def test_a_copy_learns_apart_from_its_original(cls: Any, n_workers: int, make_copy: Any) -> None:
    """Population methods copy models; job queues pickle them."""
    model = small(cls, n_workers=n_workers).learn(20)
    states = states_of(model)
    stream = torch.get_rng_state()
    twin = make_copy(model)
    assert torch.equal(torch.get_rng_state(), stream)  # a copy draws nothing
    assert_same_states(twin, states)
    statistics = model.policy.optimizer.arrays["square_avg"]
    np.testing.assert_array_equal(twin.policy.optimizer.arrays["square_avg"], statistics)
    assert not np.shares_memory(twin.policy.optimizer.arrays["square_avg"], statistics)
    twin.learn(40)
    assert_same_states(model, states)
    assert any(not torch.equal(v, states[k]) for k, v in twin.policy.state_dict().items())
    model.learn(40)
    assert any(not torch.equal(v, states[k]) for k, v in model.policy.state_dict().items())


@both_kinds
def test_a_copy_of_one_worker_goes_on_as_its_original_to_the_bit(cls: Any) -> None:
    model = small(cls).learn(50)
    twin = copy.deepcopy(model)
    # the environment's own generator was copied; what is drawn from global ones must be the same
    for each in (model, twin):
        each.set_random_seed(7)
        each.learn(50)
    assert_same_states(twin, states_of(model))


def test_a_pickle_holds_every_number_once() -> None:
    """Views of one vector, pickled one by one, would each bring all of it: twelve times as much."""
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1)
    numbers = len(model._flat.vector) * 4
    assert len(cloudpickle.dumps(model)) < 2 * numbers + 40_000  # parameters, statistics, the environment


@one_and_two_workers
@pytest.mark.parametrize("action_space", [spaces.Discrete(2), spaces.MultiDiscrete([2, 2])], ids=str)
def test_a_policy_that_was_evaluated_with_a_graph_is_copied_and_sent_to_workers(
    n_workers: int, action_space: spaces.Space[Any]
) -> None:
    """It keeps its last distribution, whose tensors belong to a graph and refuse to be copied."""
    env = RandomEnv(spaces.Box(-1, 1, (3,), np.float32), action_space)
    model = small(agents.A3C, env, n_workers=n_workers)
    for _ in range(2):
        observations, _ = model.policy.obs_to_tensor(env.observation_space.sample())
        model.policy.get_distribution(observations).entropy().sum().backward()
        assert copy.deepcopy(model).learn(10).num_timesteps == 10
        assert model.learn(10).num_timesteps == 10


def test_what_a_policy_was_told_later_is_copied_with_it() -> None:
    model = small(agents.A3C)
    model.policy.remark = "kept"
    assert copy.deepcopy(model).policy.remark == "kept"


def test_box_actions_of_two_workers_survive_a_file() -> None:
    model = small(agents.A3C, IdentityEnvBox(), n_workers=2).learn(50)
    loaded = reloaded(model, env=IdentityEnvBox())
    observation = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )
