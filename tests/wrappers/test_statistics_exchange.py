"""Workers that learn statistics together end with those of the streams put together."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from wrappers import StatisticsExchange, VecNormalize
from wrappers.vec_normalize import learning_statistics_of

FLAT = spaces.Box(-3, 5, (3,), np.float32)
NESTED = spaces.Dict({"speed": FLAT, "place": spaces.Box(-9, 1, (2,), np.float32)})
N_ENVS = 2


class Recorded(gym.Env):
    """Samples its space and keeps what it gave."""

    def __init__(self, space, seed):
        self.observation_space, self.action_space = space, spaces.Discrete(2)
        self.rng = np.random.default_rng(seed)
        self.given, self.rewards = [], []

    def observe(self):
        observation = {k: self.rng.normal(3, 2, b.shape).astype(np.float32) for k, b in boxes(self.observation_space)}
        self.given.append(observation)
        return observation if isinstance(self.observation_space, spaces.Dict) else observation["flat"]

    def reset(self, *, seed=None, options=None):
        self.rewards.append("reset")
        return self.observe(), {}

    def step(self, action):
        reward = float(np.float32(self.rng.normal(1, 2)))
        self.rewards.append(reward)
        return self.observe(), reward, False, False, {}


def boxes(space):
    return space.spaces.items() if isinstance(space, spaces.Dict) else [("flat", space)]


def worker(kind, space, seed, **settings):
    envs = [Recorded(space, (seed, i)) for i in range(N_ENVS)]
    vec_normalize = kind(DummyVecEnv([lambda env=env: env for env in envs]), **settings)
    return envs, vec_normalize, StatisticsExchange(vec_normalize)


def step(vec_normalize):
    vec_normalize.step(np.zeros(N_ENVS, int))


def discounted(rewards, gamma=0.99):
    returns = []
    for reward in rewards:
        if reward == "reset":
            running = 0.0
        else:
            running = running * gamma + reward
            returns.append(running)
    return returns


def one_pass(samples):
    """Mean and variance of all samples and the prior (weight 1e-4, mean 0, variance 1)."""
    samples = np.asarray(samples, np.float64)
    n = len(samples) + 1e-4
    mean = samples.sum(0) / n
    return n, mean, ((samples - mean) ** 2).sum(0) / n + 1e-4 * (1 + mean**2) / n


def assert_statistics_of_all(statistics, envs):
    for name, found in statistics.items():
        key = name.removeprefix("obs_rms").removeprefix("/") or "flat"
        if name == "ret_rms":
            samples = [r for env in envs for r in discounted(env.rewards)]
        else:
            samples = [given[key] for env in envs for given in env.given]
        count, mean, var = one_pass(samples)
        assert found.count == pytest.approx(count, abs=1e-9)
        np.testing.assert_allclose(found.mean, mean, rtol=1e-11)
        np.testing.assert_allclose(found.var, var, rtol=1e-11)


@pytest.mark.parametrize("kind", [VecNormalize, SB3VecNormalize])
@pytest.mark.parametrize("space", [FLAT, NESTED], ids=["flat", "Dict"])
def test_two_workers_end_with_the_statistics_of_the_concatenated_streams(kind, space):
    _, calling, parent = worker(kind, space, 0)
    shared = parent.read()
    workers = [worker(kind, space, seed) for seed in (1, 2)]
    for _, vec_normalize, exchange in workers:
        exchange.follow(shared)
        exchange.track()
        vec_normalize.reset()
    for turn in itertools.islice(itertools.cycle([0, 1, 1]), 12):  # one is twice as fast
        _, vec_normalize, exchange = workers[turn]
        for _ in range(5):
            step(vec_normalize)
        exchange.report(shared)
        exchange.follow(shared)
    for _, _, exchange in workers:
        exchange.report(shared)
        exchange.follow(shared)
    parent.write(shared)
    envs = [env for their_envs, _, _ in workers for env in their_envs]
    assert_statistics_of_all(learning_statistics_of(calling), envs)
    # prior, environment steps, and one per environment per explicit reset
    counts = learning_statistics_of(calling)
    steps = N_ENVS * 12 * 5
    for name, statistics in counts.items():
        resets = 0 if name == "ret_rms" else 2 * N_ENVS
        assert statistics.count == pytest.approx(1e-4 + steps + resets, abs=1e-9)
    for exchange in [e for _, _, e in workers]:
        exchange.follow(shared)
        np.testing.assert_array_equal(exchange.read(), shared)


def test_workers_act_with_what_all_have_seen_and_their_own_latest():
    _, calling, parent = worker(VecNormalize, FLAT, 0)
    shared = parent.read()
    (envs_a, a, exchange_a), (envs_b, b, exchange_b) = worker(VecNormalize, FLAT, 1), worker(VecNormalize, FLAT, 2)
    for exchange in (exchange_a, exchange_b):
        exchange.track()
    a.reset()
    b.reset()
    exchange_a.report(shared)
    step(b)
    exchange_b.follow(shared)  # b has not reported yet
    assert_statistics_of_all({"obs_rms": b.obs_rms}, envs_a + envs_b)
    step(b)
    assert_statistics_of_all({"obs_rms": b.obs_rms}, envs_a + envs_b)
    exchange_b.report(shared)
    parent.write(shared)
    assert_statistics_of_all({"obs_rms": calling.obs_rms}, envs_a + envs_b)


def test_statistics_that_were_there_before_count_once():
    before, calling, parent = worker(VecNormalize, FLAT, 0)
    calling.reset()
    for _ in range(4):
        step(calling)
    shared = parent.read()
    workers = [worker(VecNormalize, FLAT, seed) for seed in (1, 2)]
    for _, vec_normalize, exchange in workers:
        exchange.follow(shared)
        exchange.track()
        vec_normalize.reset()
        exchange.report(shared)
    parent.write(shared)
    envs = before + [env for their_envs, _, _ in workers for env in their_envs]
    assert_statistics_of_all({"obs_rms": calling.obs_rms}, envs)


def test_a_worker_that_dies_takes_along_only_what_it_had_not_reported():
    _, calling, parent = worker(VecNormalize, FLAT, 0)
    shared = parent.read()
    (envs, survivor, exchange), (dead_envs, dead, dead_exchange) = (
        worker(VecNormalize, FLAT, 1),
        worker(VecNormalize, FLAT, 2),
    )
    for e, v in ((exchange, survivor), (dead_exchange, dead)):
        e.track()
        v.reset()
        e.report(shared)
    step(dead)
    for env in dead_envs:
        env.given.pop()
    del dead, dead_exchange
    step(survivor)
    exchange.report(shared)
    parent.write(shared)
    assert_statistics_of_all({"obs_rms": calling.obs_rms}, envs + dead_envs)


def test_a_report_without_news_changes_nothing():
    _, vec_normalize, exchange = worker(VecNormalize, FLAT, 0)
    vec_normalize.reset()
    shared = exchange.read()
    exchange.track()
    before = shared.copy()
    exchange.report(shared)
    np.testing.assert_array_equal(shared, before)
    vec_normalize.training = False
    step(vec_normalize)
    exchange.report(shared)
    np.testing.assert_array_equal(shared, before)


def test_the_vector_can_live_in_given_memory_and_has_the_size_it_says():
    _, vec_normalize, exchange = worker(VecNormalize, NESTED, 0)
    memory = np.zeros(exchange.size)
    assert exchange.read(out=memory) is memory
    vec_normalize.reset()
    np.testing.assert_array_equal(memory, worker(VecNormalize, NESTED, 0)[2].read())


def test_the_largest_episode_is_shared_too():
    parts = [worker(VecNormalize, FLAT, seed, reward_by="episode_maximum") for seed in (1, 2)]
    shared = parts[0][2].read()
    for _, vec_normalize, exchange in parts:
        exchange.track()
        vec_normalize.reset()
        for _ in range(6):
            step(vec_normalize)
    largest = max(vec_normalize.largest_sum for _, vec_normalize, _ in parts)
    for _, _, exchange in parts:
        exchange.report(shared)
    for _, vec_normalize, exchange in parts:
        exchange.follow(shared)
        assert vec_normalize.largest_sum == largest
    _, calling, parent = worker(VecNormalize, FLAT, 0, reward_by="episode_maximum")
    parent.write(shared)
    assert calling.largest_sum == largest


def test_without_observations_only_returns_are_exchanged():
    for kind in (VecNormalize, SB3VecNormalize):
        _, vec_normalize, exchange = worker(kind, FLAT, 0, norm_obs=False)
        shared = exchange.read()
        exchange.track()
        vec_normalize.reset()
        step(vec_normalize)
        exchange.report(shared)
        assert exchange.size == 6
        assert shared[0] == N_ENVS + 1e-4
