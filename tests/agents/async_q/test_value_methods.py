"""The three value methods as a user meets them: known optima, the target network by global steps, files, repetition."""

import io
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv

import agents
from tests.agents.drop_in import each_value_method, one_and_two_workers, small
from tests.agents.toys import RandomEnv

# a tabular task whose values are known


class Corridor(gym.Env):
    """Four rooms in a row. Right goes on, and from the last room out for 1; left goes out at once for .3.

    With gamma = .5 going right is worth 1, .5, .25, .125 from the last room backwards, so left is better in the first
    two rooms. It begins in any room.
    """

    observation_space = spaces.Discrete(4)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.room = int(self.np_random.integers(4))
        return self.room, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        if action == 0:
            return self.room, 0.3, True, False, {}
        if self.room == 3:
            return self.room, 1.0, True, False, {}
        self.room += 1
        return self.room, 0.0, False, False, {}


GAMMA = 0.5
# rows: rooms; columns: left, right
OPTIMAL = np.array([[0.3, 0.15], [0.3, 0.25], [0.3, 0.5], [0.3, 1.0]])
# of a policy that goes either way with probability 1/2. From the last room backwards V = .65, then
# V = .15 + .5 * .5 * V(next) = .3125, .228125; right is worth .5 * V(next)
OF_A_COIN = np.array([[0.3, 0.1140625], [0.3, 0.15625], [0.3, 0.325], [0.3, 1.0]])


def table_of(model: Any) -> np.ndarray:
    """Q(s, a), (4, 2)."""
    with torch.no_grad():
        return model.q_net(torch.arange(4)).numpy()


def tabular(cls: Any, env: Any = None, **arguments: Any) -> Any:
    """A table: no hidden layer over one-hot rooms; momentum with decay 0 is plain gradient descent."""
    settings = {
        "learning_rate": lambda remaining: 0.2 * remaining,
        "gamma": GAMMA,
        "shared_optimizer": "momentum",
        "rms_prop_alpha": 0.0,
        "target_update_interval": 50,
        "exploration_final_eps": 1.0,
        "policy_kwargs": {"net_arch": []},
        **arguments,
    }
    return small(cls, Corridor() if env is None else env, **settings)


@one_and_two_workers
def test_one_step_q_learns_the_optimum_whatever_it_does(n_workers: int) -> None:
    model = tabular(agents.AsyncQLearning, n_workers=n_workers).learn(6000)
    np.testing.assert_allclose(table_of(model), OPTIMAL, atol=0.03)


@one_and_two_workers
def test_sarsa_learns_the_value_of_what_it_does(n_workers: int) -> None:
    model = tabular(agents.AsyncSarsa, n_workers=n_workers).learn(6000)
    np.testing.assert_allclose(table_of(model), OF_A_COIN, atol=0.05)
    assert np.abs(OF_A_COIN - OPTIMAL).max() > 0.17  # one that learned the optimum would not have passed


@pytest.mark.parametrize("cls", [agents.AsyncSarsa, agents.AsyncNStepQ], ids=lambda cls: cls.__name__)
@one_and_two_workers
def test_with_exploration_fading_they_reach_the_optimum_too(cls: Any, n_workers: int) -> None:
    model = tabular(cls, n_workers=n_workers, exploration_final_eps=0.0, exploration_fraction=0.6).learn(8000)
    table = table_of(model)
    np.testing.assert_array_equal(table.argmax(axis=1), OPTIMAL.argmax(axis=1))
    np.testing.assert_allclose(table.max(axis=1), OPTIMAL.max(axis=1), atol=0.03)
    actions, _ = model.predict(np.arange(4), deterministic=True)
    np.testing.assert_array_equal(actions, [0, 0, 1, 1])


def test_n_step_returns_carry_what_was_done_on_the_way() -> None:
    """With a coin's actions and the segment as long as an episode the returns are Monte Carlo: the coin's values."""
    model = tabular(agents.AsyncNStepQ, n_steps=10, target_update_interval=10**6).learn(6000)
    np.testing.assert_allclose(table_of(model), OF_A_COIN, atol=0.05)


@each_value_method
def test_several_environments_a_worker_learn_the_same(cls: Any) -> None:
    # two rows of one gradient double its size, and episode ends fall inside of segments
    env = DummyVecEnv([Corridor, Corridor])
    model = tabular(cls, env, n_steps=3, exploration_final_eps=0.0, exploration_fraction=0.6).learn(12_000)
    np.testing.assert_allclose(table_of(model).max(axis=1), OPTIMAL.max(axis=1), atol=0.05)


@each_value_method
def test_a_time_limit_is_bootstrapped_and_not_taken_for_an_end(cls: Any) -> None:
    """One room, reward 1 for ever, cut after 4 steps: its value is 1 / (1 - gamma) = 2, with 0 at the cut below 1.6."""

    class Forever(gym.Env):
        observation_space = spaces.Discrete(1)
        action_space = spaces.Discrete(2)

        def reset(self, **options: Any) -> Any:
            return 0, {}

        def step(self, action: int) -> Any:
            return 0, 1.0, False, False, {}

    env = gym.wrappers.TimeLimit(Forever(), 4)
    model = tabular(cls, env, n_steps=20).learn(2000)
    with torch.no_grad():
        np.testing.assert_allclose(model.q_net(torch.zeros(1, dtype=torch.int64)).numpy(), 2.0, atol=0.03)


# the target network by global steps


class WatchTarget(BaseCallback):
    """The global step, and whether the target network's parameters changed, a segment at a time."""

    def _on_training_start(self) -> None:
        self.changes: list[int] = []
        self.last = target_of(self.model)

    def _on_rollout_end(self) -> None:
        now = target_of(self.model)
        if not np.array_equal(now, self.last):
            self.changes.append(self.model.num_timesteps)
        self.last = now

    def _on_step(self) -> bool:
        return True


def target_of(model: Any) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in model.q_net_target.parameters()]).numpy().copy()


def own_of(model: Any) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in model.q_net.parameters()]).numpy().copy()


def endless() -> gym.Env:
    """No episode ends, so segments are five steps long."""
    return RandomEnv(spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2), terminate=0.0, truncate=0.0)


@each_value_method
def test_the_target_is_copied_at_the_multiples_of_the_interval(cls: Any) -> None:
    watch = WatchTarget()
    model = small(cls, endless(), target_update_interval=50, n_steps=5)
    np.testing.assert_array_equal(target_of(model), own_of(model))
    model.learn(200, callback=watch)
    # the copy is made when a segment begins at 50, 100, 150, and seen when it has ended, 5 steps later
    assert watch.changes == [55, 105, 155]
    assert not np.array_equal(target_of(model), own_of(model))


def test_two_workers_count_the_interval_together() -> None:
    watch = WatchTarget()
    model = small(agents.AsyncQLearning, endless(), n_workers=2, target_update_interval=100, n_steps=5)
    model.learn(1000, callback=watch)
    assert model._target_copied_at[0] >= 900
    # single copies may be seen together, as events come in bunches; with a count of its own each worker would make five
    assert 5 < len(watch.changes) <= 9


def test_the_target_is_one_memory_for_all_workers_and_the_model() -> None:
    model = small(agents.AsyncNStepQ, endless(), n_workers=2, target_update_interval=10**6)
    before = target_of(model)
    model.learn(200)
    np.testing.assert_array_equal(target_of(model), before)
    model = small(agents.AsyncNStepQ, endless(), n_workers=2, target_update_interval=5)
    model.learn(200)
    # what the last copy took is at most a few updates old
    assert np.abs(target_of(model) - own_of(model)).max() < np.abs(target_of(model) - before).max()
    assert (target_of(model) != before).any()


@one_and_two_workers
def test_continued_learning_goes_on_counting_and_loses_no_copy(n_workers: int) -> None:
    model = small(agents.AsyncQLearning, endless(), n_workers=n_workers, target_update_interval=100, n_steps=5)
    first = target_of(model)
    model.learn(100)
    np.testing.assert_array_equal(target_of(model), first)  # the copy at 100 is due when a segment begins there
    model.learn(20, reset_num_timesteps=False)
    second = target_of(model)
    assert (second != first).any()
    model.learn(70, reset_num_timesteps=False)
    np.testing.assert_array_equal(target_of(model), second)  # none between 100 and 200
    model.learn(50, reset_num_timesteps=False)
    assert (target_of(model) != second).any()


def test_a_run_that_begins_anew_counts_the_interval_anew() -> None:
    model = small(agents.AsyncQLearning, endless(), target_update_interval=100)
    model.learn(300)
    before = target_of(model)
    model.learn(90)
    np.testing.assert_array_equal(target_of(model), before)
    model.learn(120)
    assert (target_of(model) != before).any()


def test_a_loaded_model_copies_when_the_saved_one_would_have() -> None:
    stream = io.BytesIO()
    small(agents.AsyncQLearning, endless(), target_update_interval=100).learn(150).save(stream)
    model = agents.AsyncQLearning.load(stream, env=endless())
    before = target_of(model)
    model.learn(40, reset_num_timesteps=False)
    np.testing.assert_array_equal(target_of(model), before)
    model.learn(40, reset_num_timesteps=False)
    assert (target_of(model) != before).any()


def test_another_interval_is_counted_from_the_last_copy_as_well() -> None:
    stream = io.BytesIO()
    small(agents.AsyncQLearning, endless(), target_update_interval=10).learn(150).save(stream)
    model = agents.AsyncQLearning.load(stream, env=endless(), target_update_interval=100)
    before = target_of(model)
    model.learn(70, reset_num_timesteps=False)  # 200 is due
    assert (target_of(model) != before).any()


# files


@each_value_method
@one_and_two_workers
def test_a_file_holds_target_statistics_and_exploration(cls: Any, n_workers: int) -> None:
    model = small(cls, n_workers=n_workers, target_update_interval=40, exploration_fraction=0.9).learn(100)
    stream = io.BytesIO()
    model.save(stream)
    for loaded in (cls.load(stream), cls.load(stream, env="CartPole-v1")):
        np.testing.assert_array_equal(own_of(loaded), own_of(model))
        np.testing.assert_array_equal(target_of(loaded), target_of(model))
        assert (target_of(loaded) != own_of(loaded)).any()
        assert loaded.exploration_rate == model.exploration_rate < 1.0
        assert loaded.exploration_final_eps == {0.1: 0.4, 0.01: 0.3, 0.5: 0.3}
        square_average = model.policy.optimizer.arrays["square_avg"]
        assert square_average.any()
        np.testing.assert_array_equal(loaded.policy.optimizer.arrays["square_avg"], square_average)
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.num_timesteps == 120


def test_a_file_written_in_the_middle_of_learning_holds_that_moments_exploration(tmp_path: Path) -> None:
    checkpoints = CheckpointCallback(save_freq=100, save_path=str(tmp_path))
    model = small(agents.AsyncNStepQ, endless(), exploration_final_eps=0.0, exploration_fraction=1.0)
    model.learn(200, callback=checkpoints)
    loaded = agents.AsyncNStepQ.load(tmp_path / "rl_model_100_steps")
    assert 0.5 <= loaded.exploration_rate <= 0.53
    assert model.exploration_rate < 0.03


def test_a_model_may_be_loaded_for_another_number_of_workers_and_another_final_epsilon() -> None:
    model = small(agents.AsyncNStepQ, n_workers=2, exploration_final_eps=0.3).learn(100)
    stream = io.BytesIO()
    model.save(stream)
    loaded = agents.AsyncNStepQ.load(stream, env="CartPole-v1", n_workers=3, exploration_final_eps=0.05)
    assert loaded.exploration_rate == pytest.approx(0.3)
    assert loaded.learn(100).exploration_rate == pytest.approx(0.05)


def reloaded(model: Any, **arguments: Any) -> Any:
    stream = io.BytesIO()
    model.save(stream)
    return type(model).load(stream, **arguments)


@one_and_two_workers
def test_a_loaded_model_goes_on_with_the_final_epsilons_it_was_saved_with(n_workers: int) -> None:
    model = small(agents.AsyncQLearning, n_workers=n_workers, seed=None, exploration_fraction=0.01).learn(100)
    for _ in range(20):  # drawn anew they would not stay the same twenty times
        loaded = reloaded(model, env="CartPole-v1")
        assert tuple(loaded._final_epsilons) == tuple(model._final_epsilons)
    assert loaded.learn(10, reset_num_timesteps=False).exploration_rate == model.exploration_rate


def test_a_loaded_model_draws_from_the_final_epsilons_that_load_was_given() -> None:
    model = small(agents.AsyncNStepQ, exploration_final_eps=0.3).learn(20)
    assert reloaded(model, exploration_final_eps=0.05)._final_epsilons == (0.05,)
    loaded = reloaded(model, exploration_final_eps={0.3: 0.0, 0.1: 1.0})
    assert loaded._final_epsilons == (0.1,)


def test_agents_save_and_load_know_the_value_methods(tmp_path: Path) -> None:
    model = small(agents.AsyncSarsa).learn(60)
    agents.save(model, tmp_path / "model")
    loaded = agents.load(tmp_path / "model", env="CartPole-v1")
    assert type(loaded) is agents.AsyncSarsa
    observation = np.ones((3, 4), np.float32)
    actions, _ = agents.predict(loaded, observation, deterministic=True)
    np.testing.assert_array_equal(actions, model.predict(observation, deterministic=True)[0])


# repetition


@each_value_method
@pytest.mark.parametrize("rule", ["rmsprop", "adam"])
def test_one_worker_repeats_to_the_bit_for_a_seed(cls: Any, rule: str) -> None:
    models = [small(cls, shared_optimizer=rule, seed=seed).learn(300) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(own_of(models[0]), own_of(models[1]))
    assert (own_of(models[0]) != own_of(models[2])).any()


@each_value_method
def test_the_torch_path_repeats_to_the_bit_too(cls: Any) -> None:
    models = [small(cls, policy_kwargs={"activation_fn": torch.nn.LeakyReLU}).learn(100) for _ in range(2)]
    np.testing.assert_array_equal(own_of(models[0]), own_of(models[1]))


def test_sarsa_takes_the_action_it_chose_also_where_learning_goes_on() -> None:
    """The last target of a call used an action that the next call must take."""
    model = small(agents.AsyncSarsa, endless(), exploration_final_eps=1.0, n_steps=4)
    for _ in range(10):
        model.learn(4, reset_num_timesteps=False)
        chosen, taken = int(model._memory[0]), []

        def watch(found: dict[str, Any], _: Any, taken: list[int] = taken) -> bool:
            taken.append(int(found["actions"][0]))
            return True

        model.learn(4, callback=watch, reset_num_timesteps=False)
        assert taken[0] == chosen


class Hall(gym.Env):
    """Begins in room 0 and stays in room 1."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def reset(self, **options: Any) -> Any:
        return 0, {}

    def step(self, action: int) -> Any:
        return 1, 0.0, False, False, {}


@pytest.mark.parametrize("how", ["learn resets", "set_env resets"])
def test_the_action_that_sarsa_chose_is_forgotten_where_the_environment_is_reset(how: str) -> None:
    taken: list[int] = []
    model = tabular(
        agents.AsyncSarsa, Hall(), learning_rate=0.0, exploration_initial_eps=0.0, exploration_final_eps=0.0
    )
    with torch.no_grad():
        for part, values in zip(model.q_net.parameters(), (torch.eye(2), torch.zeros(2)), strict=True):
            part.copy_(values)  # the best action is the room's number
    model.learn(4)
    assert model._memory.tolist() == [1]  # chosen for room 1
    if how == "set_env resets":
        model.set_env(Hall())
    model.learn(
        2,
        callback=lambda found, _: taken.append(int(found["actions"][0])) or True,
        reset_num_timesteps=how == "learn resets",
    )
    assert taken == [0, 1]
