"""Reward scaling: no leak between episodes, three measures, the true reward kept."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import NormalizeReward as GymnasiumNormalizeReward
from stable_baselines3.common.monitor import Monitor

from wrappers import NormalizeAction, NormalizeReward


class Rewards(gym.Env):
    """Gives prepared rewards; an episode ends, in the way asked for, after `length` steps."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, rewards=1.0, length=3, ends_by="truncation"):
        self.rewards = rewards if callable(rewards) else lambda t: rewards
        self.length, self.ends_by = length, ends_by
        self.total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        reward = self.rewards(self.total)
        self.t += 1
        self.total += 1
        over = self.t == self.length
        return (
            np.zeros(1, np.float32),
            reward,
            over and self.ends_by != "truncation",
            over and self.ends_by != "termination",
            {},
        )


@pytest.mark.parametrize("ends_by", ["truncation", "termination", "both"])
@pytest.mark.parametrize("with_reset", [True, False])
def test_the_return_of_one_episode_does_not_leak_into_the_next(ends_by, with_reset):
    env = NormalizeReward(Rewards(ends_by=ends_by), gamma=0.99)
    env.reset()
    seen = []
    for _ in range(4):
        _, _, terminated, truncated, _ = env.step(0)
        seen.append(env.episode_sum)
        if (terminated or truncated) and with_reset:
            env.reset()
            env.unwrapped.t = 0
    np.testing.assert_allclose(seen, [1, 1.99, 2.9701, 1], rtol=1e-15)


def test_gymnasium_leaks_where_this_wrapper_does_not():
    """Shows that the test above can fail."""
    env = GymnasiumNormalizeReward(Rewards(), gamma=0.99)
    env.reset()
    for _ in range(3):
        env.step(0)
    env.reset()
    env.step(0)
    assert env.discounted_reward[0] > 3


def test_the_last_reward_of_an_episode_counts_before_the_sum_is_dropped():
    env = NormalizeReward(Rewards(), gamma=0.99)
    env.reset()
    for _ in range(3):
        env.step(0)
    env.reset()
    env.step(0)
    returns = np.array([1, 1.99, 2.9701, 1])
    statistics = env.learning_statistics()["reward"]
    assert statistics.count == 4 + 1e-4
    np.testing.assert_allclose(statistics.mean, returns.sum() / 4.0001)


def test_a_reset_in_the_middle_starts_anew():
    env = NormalizeReward(Rewards(length=9), gamma=0.99)
    env.reset()
    env.step(0)
    env.step(0)
    env.reset()
    assert env.episode_sum == 0
    env.step(0)
    assert env.episode_sum == 1


def test_within_one_episode_it_follows_gymnasium():
    def rewards(t):
        return np.sin(7.0 * t)

    ours = NormalizeReward(Rewards(rewards, 50), clip=np.inf)
    theirs = GymnasiumNormalizeReward(Rewards(rewards, 50))
    ours.reset()
    theirs.reset()
    for _ in range(50):
        np.testing.assert_allclose(ours.step(0)[1], theirs.step(0)[1], rtol=1e-6)


def test_by_reward_a_constant_keeps_its_size():
    env = NormalizeReward(Rewards(4.0), "reward")
    env.reset()
    scaled = [env.step(0)[1] for _ in range(200)]
    assert scaled[-1] == pytest.approx(1.0, abs=1e-3)


def test_by_episode_maximum_no_sum_exceeds_one():
    env = NormalizeReward(Rewards(lambda t: -2.0 if t < 3 else -1.0), "episode_maximum")
    env.reset()
    first = [env.step(0)[1] for _ in range(3)]
    env.reset()
    second = [env.step(0)[1] for _ in range(3)]
    np.testing.assert_allclose(first, [-2 / 2, -2 / 4, -2 / 6])
    np.testing.assert_allclose(second, [-1 / 6] * 3)


@pytest.mark.parametrize("by", ["return", "reward", "episode_maximum"])
def test_a_stream_of_zeros_stays_zero(by):
    env = NormalizeReward(Rewards(0.0), by)
    env.reset()
    assert [env.step(0)[1] for _ in range(5)] == [0.0] * 5


def test_rewards_are_clipped():
    env = NormalizeReward(Rewards(lambda t: 1e-3 if t < 50 else -1e3), clip=2.0)
    env.reset()
    assert [env.step(0)[1] for _ in range(51)][-1] == -2.0


def test_the_true_reward_and_return_stay_in_info():
    env = NormalizeReward(Rewards(lambda t: 10.0 * (t + 1)))
    env.reset()
    infos = [env.step(0)[4] for _ in range(3)]
    assert [info["unscaled_reward"] for info in infos] == [10, 20, 30]
    assert ["unscaled_return" in info for info in infos] == [False, False, True]
    assert infos[2]["unscaled_return"] == 60


def test_monitor_shows_the_true_return_inside_and_around():
    env = Monitor(NormalizeReward(Rewards(10.0)), info_keywords=("unscaled_return",))
    env.reset()
    info = [env.step(0)[4] for _ in range(3)][-1]
    assert info["episode"]["unscaled_return"] == 30
    env = NormalizeReward(Monitor(Rewards(10.0)))
    env.reset()
    assert [env.step(0)[4] for _ in range(3)][-1]["episode"]["r"] == 30


@pytest.mark.parametrize("by", ["return", "reward", "episode_maximum"])
def test_frozen_the_scale_stays(by):
    env = NormalizeReward(Rewards(lambda t: float(t % 5)), by)
    env.reset()
    for _ in range(9):
        env.step(0)
    before = env.statistics_to_arrays()
    with env.freeze():
        env.reset()
        for _ in range(9):
            env.step(0)
        with pytest.raises(RuntimeError, match=r"reward.*frozen"):
            env.learning_statistics()["reward"].update(np.zeros(1))
    for name, array in env.statistics_to_arrays().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("by", ["return", "reward", "episode_maximum"])
def test_statistics_go_through_a_file(tmp_path, by):
    env = NormalizeReward(Rewards(lambda t: float(t % 5)), by)
    env.reset()
    for _ in range(9):
        env.step(0)
    env.save_statistics(tmp_path / "reward.npz")
    other = NormalizeReward(Rewards(3.0), by, training=False)
    other.load_statistics(tmp_path / "reward.npz")
    env.unwrapped.rewards = lambda t: 3.0
    for e in (env, other):
        e.reset()
    with env.freeze():
        assert other.step(0)[1] == env.step(0)[1] != 3.0
    with pytest.raises(RuntimeError, match="frozen"):
        other.learning_statistics()["reward"].update(np.zeros(1))


def test_statistics_of_another_measure_are_refused():
    arrays = NormalizeReward(Rewards(), "reward").statistics_to_arrays()
    with pytest.raises(ValueError, match=r"'reward'.*'return'"):
        NormalizeReward(Rewards()).load_arrays(arrays)


@pytest.mark.parametrize("by", ["return", "reward", "episode_maximum"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rewards_that_are_not_finite_are_refused(by, training, bad):
    env = NormalizeReward(Rewards(bad), by, training=training)
    env.reset()
    with pytest.raises(ValueError, match=f"reward: {bad}"):
        env.step(0)


@pytest.mark.parametrize("by", ["return", "reward", "episode_maximum"])
def test_during_the_warm_up_rewards_keep_their_size(by):
    env = NormalizeReward(Rewards(3.0), by, warmup=3)
    env.reset()
    assert [env.step(0)[1] for _ in range(2)] == [3.0, 3.0]
    assert env.step(0)[1] != 3.0


@pytest.mark.parametrize("training", [True, False])
def test_the_environment_checker_is_content(training):
    env = NormalizeReward(NormalizeAction(gym.make("Pendulum-v1")), training=training)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(env, skip_render_check=True)


def test_the_spec_rebuilds_the_wrapper():
    env = NormalizeReward(gym.make("Pendulum-v1"), "reward", gamma=0.9, epsilon=1e-3, clip=3.0, decay=0.9, warmup=2)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again, NormalizeReward)
    assert again.spec == env.spec
    env.reset(seed=1)
    again.reset(seed=1)
    for _ in range(3):
        assert again.step(np.ones(1, np.float32))[1] == env.step(np.ones(1, np.float32))[1]


@pytest.mark.parametrize(
    "option",
    [{"by": "returns"}, {"gamma": 99}, {"epsilon": 0.0}, {"clip": -1.0}, {"decay": 0.0}, {"warmup": -1}],
)
def test_options_outside_their_range_are_named(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        NormalizeReward(Rewards(), **option)
