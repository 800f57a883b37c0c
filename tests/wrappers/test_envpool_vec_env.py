"""EnvPool under SB3: a double with the interface of EnvPool's documentation, and EnvPool itself where installed."""

import warnings

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor

from wrappers import VecNormalize, from_gymnasium_vector


class Pool:
    """What EnvPool shows: resets in the step after an episode, and single environments by number, in any order."""

    def __init__(self, n=3, kind="flat", **config):
        self.config = {"num_envs": n, "batch_size": n, "max_num_players": 1, "seed": 42} | config
        self.kind = kind
        box = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space = box if kind == "flat" else spaces.Dict({"a": box, "b": spaces.Discrete(9)})
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.all_env_ids = np.arange(n, dtype=np.int32)
        self.n = n
        self.episode, self.t, self.over = np.full(n, -1), np.zeros(n, int), np.zeros(n, bool)
        self.dead_steps = 0

    def state(self, ids):
        rows = np.stack([ids, self.episode[ids], self.t[ids]], axis=1).astype(np.float32)
        observations = rows if self.kind == "flat" else {"a": rows, "b": self.t[ids].copy()}
        info = {"env_id": ids, "players": {"env_id": ids}, "elapsed_step": self.t[ids].copy(), "lives": 9 - self.t[ids]}
        return observations, info

    def reset(self, env_id=None):
        ids = self.all_env_ids if env_id is None else np.asarray(env_id)[::-1]
        assert ids.dtype == np.int32
        self.episode[ids] += 1
        self.t[ids], self.over[ids] = 0, False
        return self.state(ids)

    def step(self, action, env_id=None):
        assert action.dtype == np.float32
        self.dead_steps += int(self.over.sum())
        self.t += 1
        self.over = self.t == 2 + (self.episode + self.all_env_ids) % 3
        truncated = self.over & (self.episode % 2 == 1)
        observations, info = self.state(self.all_env_ids)
        return observations, (self.t + action[:, 0]).astype(np.float64), self.over & ~truncated, truncated, info

    def render(self, env_ids=None):
        return np.stack([np.full((2, 2, 3), i, np.uint8) for i in env_ids])

    def close(self):
        self.closed = True

    send = recv = async_reset = None


@pytest.mark.parametrize("kind", ["flat", "Dict"])
def test_episodes_follow_each_other_without_a_dead_step(kind):
    pool = Pool(kind=kind)
    venv = from_gymnasium_vector(pool)

    def rows(observations):
        return observations if kind == "flat" else observations["a"]

    observations = venv.reset()
    assert rows(observations)[:, 1:].tolist() == [[0, 0]] * 3
    assert venv.reset_infos[2] == {"lives": 9}
    age, ends = np.zeros(3, int), 0
    for _ in range(30):
        observations, rewards, dones, infos = venv.step(np.full((3, 2), 0.5))
        age += 1
        np.testing.assert_array_equal(rewards, age + np.float32(0.5))
        assert rewards.dtype == np.float32
        for i in range(3):
            number, episode, t = rows(observations)[i]
            assert number == i
            if dones[i]:
                ends += 1
                final = infos[i]["terminal_observation"]
                final = final if kind == "flat" else final["a"]
                assert final.tolist() == [i, episode - 1, age[i]]
                assert infos[i]["TimeLimit.truncated"] == (episode % 2 == 0)
                assert infos[i]["lives"] == 9 - age[i]
                assert venv.reset_infos[i] == {"lives": 9}
                age[i] = 0
            else:
                assert infos[i] == {"lives": 9 - age[i], "TimeLimit.truncated": False}
            assert t == age[i]
    assert ends > 20
    assert pool.dead_steps == 0


def test_a_seed_that_comes_too_late_is_said():
    venv = from_gymnasium_vector(Pool())
    with pytest.warns(UserWarning, match=r"seed=3 has no effect.*keep 42.*envpool\.make"):
        assert venv.seed(3) == [None] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        venv.seed(42)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (lambda: Pool(batch_size=2), "asynchronous mode"),
        (lambda: Pool(max_num_players=4), "4 players"),
    ],
)
def test_pools_of_another_kind_are_refused(pool, message):
    with pytest.raises(ValueError, match=message):
        from_gymnasium_vector(pool())


def test_pools_for_another_interface_are_refused():
    pool = Pool()
    pool.observation_space = {"obs": "dm_env"}
    with pytest.raises(ValueError, match="env_type='gymnasium'"):
        from_gymnasium_vector(pool)


def test_what_belongs_to_a_vec_env():
    venv = from_gymnasium_vector(Pool())
    assert venv.render_mode is None
    assert venv.get_attr("n", indices=[0, 1]) == [3, 3]
    assert venv.env_is_wrapped(Monitor) == [False] * 3
    assert [image[0, 0, 0] for image in venv.get_images()] == [0, 1, 2]
    for impossible in (lambda: venv.set_attr("n", 1), lambda: venv.env_method("n"), lambda: venv.get_attr("nonsense")):
        with pytest.raises(AttributeError):
            impossible()
    venv.set_options({"level": 1})
    with pytest.raises(ValueError, match="takes no options"):
        venv.reset()
    venv.close()
    assert venv.env.closed


def test_an_algorithm_learns_in_it():
    venv = VecNormalize(VecMonitor(from_gymnasium_vector(Pool())))
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, device="cpu").learn(48)
    assert len(model.ep_info_buffer) > 5
    assert {record["l"] for record in model.ep_info_buffer} == {2, 3, 4}


def test_envpool_itself():
    envpool = pytest.importorskip("envpool")
    venv = from_gymnasium_vector(envpool.make("CartPole-v1", env_type="gymnasium", num_envs=4, seed=1))
    venv.reset()
    for _ in range(100):
        observations, rewards, dones, infos = venv.step(np.ones(4, np.int64))
        np.testing.assert_array_equal(rewards, 1)  # a dead step would give 0
        for i in np.flatnonzero(dones):
            assert np.abs(observations[i]).max() <= 0.05
            assert np.abs(infos[i]["terminal_observation"]).max() > 0.2
