"""Statistics of a VecNormalize survive as plain arrays, and only fit the environment they were made with."""

import io

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from wrappers import frozen_from_arrays, statistics_to_arrays, vec_normalize_from_arrays


class RandomObservations(gym.Env):
    """Samples its observation space; the reward is the step number."""

    def __init__(self, observation_space: spaces.Space):
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), float(self.t), self.t == 5, False, {}


FLAT = spaces.Box(-3, 5, (3,), np.float32)
NESTED = spaces.Dict({"position": spaces.Box(-9, 1, (2,), np.float32), "speed/x": FLAT, "mode": spaces.Discrete(4)})


def make(space, n_envs=2):
    venv = DummyVecEnv([lambda: RandomObservations(space)] * n_envs)
    venv.seed(1)
    return venv


def trained(space, keys=None, **settings):
    vec_normalize = VecNormalize(make(space), norm_obs_keys=keys, **settings)
    vec_normalize.reset()
    for _ in range(23):
        vec_normalize.step(np.zeros(2, int))
    return vec_normalize


def through_npz(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    buffer.seek(0)
    return np.load(buffer, allow_pickle=False)


@pytest.mark.parametrize(("space", "keys"), [(FLAT, None), (NESTED, ["position", "speed/x"])], ids=["flat", "Dict"])
def test_rebuilt_from_a_file_it_normalizes_to_the_same_bits(space, keys):
    original = trained(space, keys, clip_obs=1.5, clip_reward=2.5, gamma=0.9, epsilon=1e-3)
    rebuilt = frozen_from_arrays(make(space), through_npz(statistics_to_arrays(original)))
    raw = make(space).reset()
    expected, actual = original.normalize_obs(raw), rebuilt.normalize_obs(raw)
    for key in keys or [None]:
        np.testing.assert_array_equal(*(x if key is None else x[key] for x in (actual, expected)))
    assert (rebuilt.clip_obs, rebuilt.clip_reward, rebuilt.gamma, rebuilt.epsilon) == (1.5, 2.5, 0.9, 1e-3)
    assert rebuilt.norm_obs_keys == original.norm_obs_keys


def test_frozen_means_statistics_stay_and_rewards_pass():
    original = trained(FLAT)
    rebuilt = frozen_from_arrays(make(FLAT), statistics_to_arrays(original))
    rebuilt.reset()
    _, rewards, _, _ = rebuilt.step(np.zeros(2, int))
    assert not rebuilt.training
    assert rebuilt.obs_rms.count == original.obs_rms.count
    np.testing.assert_array_equal(rewards, [1.0, 1.0])


def test_training_goes_on_from_where_it_stopped():
    original = trained(FLAT)
    rebuilt = vec_normalize_from_arrays(make(FLAT), statistics_to_arrays(original))
    batch = np.array([1.0, 2.0], np.float32)
    np.testing.assert_array_equal(rebuilt.normalize_reward(batch), original.normalize_reward(batch))
    rebuilt.reset()
    assert rebuilt.training
    assert rebuilt.norm_reward
    assert rebuilt.obs_rms.count == original.obs_rms.count + 2


def test_the_arrays_do_not_follow_later_training():
    original = trained(FLAT)
    arrays = statistics_to_arrays(original)
    before = {name: array.copy() for name, array in arrays.items()}
    original.step(np.zeros(2, int))
    original.obs_rms.mean += 1
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])
        assert array.dtype != object


def test_without_observation_normalization_only_the_return_is_kept():
    original = trained(NESTED, norm_obs=False)
    arrays = statistics_to_arrays(original)
    assert not [name for name in arrays if name.startswith("obs_rms")]
    rebuilt = vec_normalize_from_arrays(make(NESTED), arrays)
    assert rebuilt.ret_rms.var == original.ret_rms.var
    assert not rebuilt.norm_obs


def test_another_shape_is_refused_with_both_shapes():
    arrays = statistics_to_arrays(trained(FLAT))
    with pytest.raises(ValueError, match=r"observation have shape \(3,\).*\(4,\)"):
        frozen_from_arrays(make(spaces.Box(-1, 1, (4,))), arrays)


def test_another_key_or_shape_of_a_key_is_refused_by_name():
    arrays = statistics_to_arrays(trained(NESTED, ["position", "speed/x"]))
    renamed = spaces.Dict({"place": NESTED["position"], "speed/x": FLAT})
    with pytest.raises(ValueError, match=r"key 'position'.*\['place', 'speed/x'\]"):
        frozen_from_arrays(make(renamed), arrays)
    wider = spaces.Dict({"position": spaces.Box(0, 1, (7,)), "speed/x": FLAT})
    with pytest.raises(ValueError, match=r"key 'position' have shape \(2,\).*\(7,\)"):
        frozen_from_arrays(make(wider), arrays)


@pytest.mark.parametrize(("saved", "keys", "now"), [(FLAT, None, NESTED), (NESTED, ["position"], FLAT)])
def test_flat_and_dict_statistics_are_not_mixed(saved, keys, now):
    with pytest.raises(ValueError, match="statistics belong to"):
        frozen_from_arrays(make(now), statistics_to_arrays(trained(saved, keys)))


def test_missing_arrays_and_other_formats_are_named():
    arrays = statistics_to_arrays(trained(FLAT))
    with pytest.raises(ValueError, match="'ret_rms/var' is missing"):
        frozen_from_arrays(make(FLAT), {name: a for name, a in arrays.items() if name != "ret_rms/var"})
    with pytest.raises(ValueError, match="format 99"):
        frozen_from_arrays(make(FLAT), arrays | {"format": np.array(99)})


def test_only_a_vec_normalize_has_statistics():
    with pytest.raises(TypeError, match="DummyVecEnv"):
        statistics_to_arrays(make(FLAT))
