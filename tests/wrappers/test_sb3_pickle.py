"""SB3's pickled statistics are read as numbers, and nothing in the file is executed."""

import pickle
import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from wrappers import VecNormalize
from wrappers.sb3_pickle import read_sb3_pickle


class Pair(gym.Env):
    observation_space = spaces.Dict(
        {"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-5, 5, (3,)), "c": spaces.Discrete(2)}
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.5, False, False, {}


def trained(name):
    if name == "Dict":
        venv = SB3VecNormalize(
            DummyVecEnv([Pair]), norm_obs_keys=["a", "b"], clip_obs=3.0, gamma=0.5, norm_reward=False
        )
    else:
        venv = SB3VecNormalize(make_vec_env("CartPole-v1", 2, seed=1), clip_reward=2.0, epsilon=1e-3)
    venv.reset()
    for _ in range(20):
        venv.step(np.zeros(venv.num_envs, int))
    return venv


@pytest.mark.parametrize("name", ["flat", "Dict"])
@pytest.mark.parametrize("training", [True, False])
def test_a_pickle_of_sb3_gives_the_same_bits(tmp_path, name, training):
    theirs = trained(name)
    theirs.training = training
    theirs.save(str(tmp_path / "vecnormalize.pkl"))
    ours = VecNormalize.load(tmp_path / "vecnormalize.pkl", theirs.venv)
    raw = theirs.get_original_obs()
    actual, expected = ours.normalize_obs(raw), theirs.normalize_obs(raw)
    for key in ["a", "b"] if name == "Dict" else [...]:
        np.testing.assert_array_equal(actual[key], expected[key])
    rewards = np.array([1.0, -7.0], np.float32)
    np.testing.assert_array_equal(ours.normalize_reward(rewards), theirs.normalize_reward(rewards))
    for setting in (
        "training",
        "norm_obs",
        "norm_reward",
        "clip_obs",
        "clip_reward",
        "gamma",
        "epsilon",
        "norm_obs_keys",
    ):
        assert getattr(ours, setting) == getattr(theirs, setting)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_that_sb3_may_have_used_is_read(tmp_path, protocol):
    path = tmp_path / "x.pkl"
    theirs = trained("flat")
    path.write_bytes(pickle.dumps(theirs, protocol=protocol))
    arrays = read_sb3_pickle(path)
    np.testing.assert_array_equal(arrays["obs_rms/mean"], theirs.obs_rms.mean)


def test_names_of_numpy_1_are_understood(tmp_path):
    path = tmp_path / "old.pkl"
    theirs = trained("flat")
    new = pickle.dumps(theirs, protocol=2)
    path.write_bytes(new.replace(b"numpy._core.", b"numpy.core."))
    assert b"numpy.core.multiarray" in path.read_bytes()
    np.testing.assert_array_equal(read_sb3_pickle(path)["obs_rms/var"], theirs.obs_rms.var)


def explode(*args):
    raise AssertionError("something in the pickle was executed")


class Explosive:
    def __reduce__(self):
        return (explode, ("boom",))


def test_what_else_stands_in_the_file_is_not_executed(tmp_path):
    theirs = trained("flat")
    theirs.extra = Explosive()
    theirs.save(str(tmp_path / "x.pkl"))
    with pytest.raises(AssertionError, match="executed"):
        SB3VecNormalize.load(str(tmp_path / "x.pkl"), theirs.venv)
    VecNormalize.load(tmp_path / "x.pkl", theirs.venv)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Explosive()),
        pickle.dumps({"obs_rms": 3}),
        pickle.dumps(np.zeros(3)),
        pickle.dumps([1, 2])[:-4],
        pickle.dumps(len),
        b"\x80",
    ],
    ids=["function", "dict", "array", "truncated", "builtin", "one byte"],
)
def test_other_pickles_are_refused(tmp_path, content):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path} is no pickle of an SB3 VecNormalize")):
        VecNormalize.load(path, make_vec_env("CartPole-v1", 1))


def test_statistics_of_another_environment_are_refused_by_shape(tmp_path):
    trained("flat").save(str(tmp_path / "x.pkl"))
    with pytest.raises(ValueError, match=r"\(4,\).*\(3,\)"):
        VecNormalize.load(tmp_path / "x.pkl", make_vec_env("Pendulum-v1", 1))
