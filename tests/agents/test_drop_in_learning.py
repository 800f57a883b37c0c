"""learn(): budgets, seeds, devices, vector environments and easy tasks, as SB3's tests ask of A2C and DQN."""

import random
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import (
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecNormalize

import agents
from tests.agents.drop_in import both_kinds, each_method, each_value_method, one_and_two_workers, small
from tests.agents.toys import Counter, RandomEnv

VECTOR = spaces.Box(-1, 1, (3,), np.float32)


def vector_of(model: Any) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in model.policy.parameters()]).numpy().copy()


# budgets


@each_method
@one_and_two_workers
@pytest.mark.parametrize("n_envs", [1, 3])
def test_steps_are_counted_to_the_next_multiple_of_the_environments(cls: Any, n_workers: int, n_envs: int) -> None:
    model = small(cls, make_vec_env("CartPole-v1", n_envs), n_workers=n_workers)
    assert model.learn(64).num_timesteps == -(-64 // n_envs) * n_envs
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps == 64 + 20 if n_envs == 1 else 66 + 21
    assert model.learn(7).num_timesteps == -(-7 // n_envs) * n_envs


@each_method
def test_learn_may_be_called_bare(cls: Any) -> None:
    class Stop(BaseCallback):
        def _on_training_start(self) -> None:
            self.total = self.locals["total_timesteps"]

        def _on_step(self) -> bool:
            return False

    stop = Stop()
    assert small(cls).learn(callback=stop).num_timesteps <= 5
    assert stop.total == 100_000


@both_kinds
@one_and_two_workers
def test_the_first_learn_and_those_that_reset_start_the_environment(cls: Any, n_workers: int) -> None:
    env = Counter(length=4)
    model = small(cls, env, n_workers=n_workers)
    model.learn(10)
    first = env.episode
    assert first >= 1
    model.learn(10, reset_num_timesteps=False)
    between = env.episode
    model.learn(10)
    assert env.episode > between >= first


# seeds


@each_method
def test_the_same_seed_learns_and_acts_the_same(cls: Any) -> None:
    results = []
    for _ in range(2):
        explore = {} if cls is agents.A3C else {"exploration_final_eps": 0.3}
        model = small(cls, seed=3, **explore).learn(300)
        env = model.get_env()
        observation = env.reset()
        actions, rewards = [], []
        for _ in range(50):
            action, _ = model.predict(observation, deterministic=False)
            observation, reward, _, _ = env.step(action)
            actions.append(int(action[0]))
            rewards.append(float(reward[0]))
        results.append((actions, rewards, vector_of(model).tolist()))
    assert results[0] == results[1]
    assert set(results[0][0]) == {0, 1}


@each_method
def test_other_seeds_learn_otherwise(cls: Any) -> None:
    assert (vector_of(small(cls, seed=1).learn(60)) != vector_of(small(cls, seed=2).learn(60))).any()


@both_kinds
def test_without_a_seed_models_differ(cls: Any) -> None:
    set_random_seed(0)  # networks alike; what workers draw must still differ
    first = small(cls, seed=None)
    set_random_seed(0)
    second = small(cls, seed=None)
    np.testing.assert_array_equal(vector_of(first), vector_of(second))
    set_random_seed(0)
    first.learn(60)
    set_random_seed(0)
    second.learn(60)
    assert (vector_of(first) != vector_of(second)).any()


@both_kinds
def test_a_seed_seeds_python_numpy_torch_and_the_spaces_as_sb3_does(cls: Any) -> None:
    drawn = []
    for _ in range(2):
        model = small(cls, seed=11)
        global_numpy = np.random.random()  # noqa: NPY002 - the generator that SB3 seeds
        drawn.append((random.random(), global_numpy, float(torch.rand(())), model.action_space.sample()))
    assert drawn[0] == drawn[1]


@both_kinds
def test_two_workers_see_different_episodes(cls: Any) -> None:
    seen: dict[int, list[tuple[float, ...]]] = {0: [], 1: []}

    def watch(found: dict[str, Any], _: Any) -> bool:
        seen[found["worker"]].append(tuple(found["new_obs"][0]))
        return any(len(rows) < 20 for rows in seen.values())

    small(cls, RandomEnv(VECTOR, spaces.Discrete(2)), n_workers=2).learn(100_000, callback=watch)
    assert not set(seen[0]) & set(seen[1])


# devices


@each_method
@pytest.mark.parametrize("device", ["auto", "cpu", torch.device("cpu")], ids=str)
def test_devices_are_given_as_text_or_object(cls: Any, device: Any) -> None:
    model = small(cls, device=device)
    assert model.device == torch.device("cpu")  # auto is the CPU, for which the method is made
    assert model.learn(10).num_timesteps == 10


# vector environments and wrappers


@each_method
@one_and_two_workers
def test_several_environments_are_stepped_together(cls: Any, n_workers: int) -> None:
    env = DummyVecEnv([lambda: RandomEnv(VECTOR, spaces.Discrete(2))] * 4)
    model = small(cls, env, n_workers=n_workers, n_steps=3)
    assert model.n_envs == 4
    assert model.learn(48).num_timesteps == 48


@both_kinds
@one_and_two_workers
def test_a_chain_of_wrappers_is_stepped(cls: Any, n_workers: int) -> None:
    env = VecCheckNan(VecNormalize(make_vec_env("CartPole-v1", 2)), raise_exception=True)
    assert small(cls, env, n_workers=n_workers).learn(40).num_timesteps == 40


class Nan(RandomEnv):
    """Shows NaN after some steps."""

    def step(self, action: Any) -> Any:
        observation, *others = super().step(action)
        self.taken = getattr(self, "taken", 0) + 1
        return (observation * np.nan if self.taken > 20 else observation), *others


@both_kinds
@one_and_two_workers
def test_observations_that_are_no_numbers_end_learning_with_finite_parameters(cls: Any, n_workers: int) -> None:
    model = small(cls, Nan(VECTOR, spaces.Discrete(2), 0.0, 0.0), n_workers=n_workers)
    with pytest.raises((FloatingPointError, ValueError)):
        model.learn(200)
    assert np.isfinite(vector_of(model)).all()
    model.set_env(RandomEnv(VECTOR, spaces.Discrete(2)))
    assert model.learn(20).num_timesteps == 20


# what must be learned


IDENTITY = {
    "discrete": lambda: IdentityEnv(4, ep_length=50),
    "multi-discrete": lambda: IdentityEnvMultiDiscrete(2, ep_length=50),
    "multi-binary": lambda: IdentityEnvMultiBinary(2, ep_length=50),
    "box": lambda: IdentityEnvBox(eps=0.5, ep_length=50),
}


@pytest.mark.parametrize(
    ("name", "n_workers", "n_envs", "steps"),
    [
        ("discrete", 1, 1, 4000),
        ("discrete", 2, 1, 4000),
        ("box", 2, 1, 6000),
        ("multi-discrete", 1, 4, 4000),
        ("multi-binary", 2, 4, 4000),
    ],
)
def test_a3c_learns_to_repeat_what_it_sees(name: str, n_workers: int, n_envs: int, steps: int) -> None:
    model = small(
        agents.A3C,
        DummyVecEnv([IDENTITY[name]] * n_envs),
        n_workers=n_workers,
        gamma=0.4,
        n_steps=10 // n_envs,
        learning_rate=1e-2,
        rms_prop_eps=1e-3,
        policy_kwargs={"net_arch": [32]},
    )
    model.learn(steps)
    mean, _ = evaluate_policy(model, IDENTITY[name](), n_eval_episodes=2, warn=False)
    assert mean > (35 if name == "box" else 45)  # of 50; by chance 12


@each_value_method
@one_and_two_workers
def test_value_methods_learn_to_repeat_what_they_see(cls: Any, n_workers: int) -> None:
    env = IDENTITY["discrete"]()
    model = small(
        cls,
        env,
        n_workers=n_workers,
        gamma=0.4,
        learning_rate=3e-3,
        rms_prop_eps=1e-4,
        target_update_interval=100,
        exploration_final_eps=0.1,
        exploration_fraction=0.5,
        policy_kwargs={"net_arch": [32]},
    ).learn(4000)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=4, warn=False)
    assert mean > 45


class Endless(gym.Env):
    """Four states in a ring, reward 1 for ever: worth 1 / (1 - gamma)."""

    observation_space = spaces.Discrete(4)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.state = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.state = (self.state + 1) % 4
        return self.state, 1.0, False, False, {}


@pytest.mark.parametrize(("cut", "n_workers"), [("truncated", 1), ("truncated", 2), ("terminated", 1)])
def test_a_time_limit_is_no_end(n_workers: int, cut: str) -> None:
    """With the time limit taken for what it is the value is 10; as an end it would be the few rewards until then."""

    class Ends(gym.Wrapper):
        def step(self, action: Any) -> Any:
            observation, reward, _, truncated, info = super().step(action)
            return observation, reward, truncated, False, info

    env: gym.Env = gym.wrappers.TimeLimit(Endless(), 8)
    model = small(
        agents.A3C,
        Ends(env) if cut == "terminated" else env,
        n_workers=n_workers,
        gamma=0.9,
        learning_rate=lambda remaining: 0.02 * remaining,
        rms_prop_eps=1e-3,
        policy_kwargs={"net_arch": [32]},
    ).learn(4000)
    value = model.policy.predict_values(model.policy.obs_to_tensor(np.array(0))[0]).item()
    if cut == "truncated":
        assert abs(value - 10.0) < 1.0
    else:
        assert abs(value - (1 - 0.9**8) / 0.1) < 1.0
