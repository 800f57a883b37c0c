"""Statistics of a VecNormalize survive as plain arrays, and only fit the environment they were made with."""

import io

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from wrappers import (
    VecNormalize,
    frozen_from_arrays,
    source_space,
    statistics_to_arrays,
    vec_normalize_from_arrays,
)


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
RULED = spaces.Dict(
    {
        "speed/x": FLAT,
        "angle": spaces.Box(-2, 2, (2,), np.float64),
        "mode": spaces.Discrete(4, start=3),
        "levers": spaces.MultiDiscrete([2, 3], start=[0, 4]),
        "free": spaces.Box(-np.inf, np.inf, (2,), np.float32),
        "image": spaces.Box(0, 255, (36, 37, 3), np.uint8),
        "raw": spaces.MultiBinary(3),
    }
)
RULES = {
    "speed/x": "running",
    "image": "image",
    "free": {"rule": "bounds", "low": -9.0, "high": [9.0, 99.0]},
}
NESTED = spaces.Dict({"position": spaces.Box(-9, 1, (2,), np.float32), "speed/x": FLAT, "mode": spaces.Discrete(4)})


def make(space, n_envs=2):
    venv = DummyVecEnv([lambda: RandomObservations(space)] * n_envs)
    venv.seed(1)
    return venv


def trained(space, keys=None, kind=SB3VecNormalize, **settings):
    vec_normalize = kind(make(space), norm_obs_keys=keys, **settings)
    vec_normalize.reset()
    for _ in range(23):
        vec_normalize.step(np.zeros(2, int))
    return vec_normalize


def through_npz(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    buffer.seek(0)
    return np.load(buffer, allow_pickle=False)


@pytest.mark.parametrize("kind", [SB3VecNormalize, VecNormalize])
@pytest.mark.parametrize(("space", "keys"), [(FLAT, None), (NESTED, ["position", "speed/x"])], ids=["flat", "Dict"])
def test_rebuilt_from_a_file_it_normalizes_to_the_same_bits(space, keys, kind):
    original = trained(space, keys, kind, clip_obs=1.5, clip_reward=2.5, gamma=0.9, epsilon=1e-3)
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
    original.obs_rms.mean += 1  # in place
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


def test_rules_and_their_statistics_are_rebuilt_to_the_same_bits():
    original = trained(
        RULED, kind=VecNormalize, rules=RULES, clip_obs=1.5, reward_by="episode_maximum", decay=0.99, warmup=3
    )
    arrays = through_npz(statistics_to_arrays(original))
    assert all(arrays[name].dtype != object for name in arrays)
    rebuilt = vec_normalize_from_arrays(make(RULED), arrays)
    assert rebuilt.observation_space == original.observation_space
    assert rebuilt.norm_obs_keys == original.norm_obs_keys
    assert rebuilt.largest_sum == original.largest_sum
    raw, rewards = make(RULED).reset(), np.array([3.0, 4.0], np.float32)
    for _ in range(2):  # also after going on
        expected, actual = original.normalize_obs(raw), rebuilt.normalize_obs(raw)
        for key in RULED.spaces:
            np.testing.assert_array_equal(actual[key], expected[key])
        np.testing.assert_array_equal(rebuilt.normalize_reward(rewards), original.normalize_reward(rewards))
        for venv in (original, rebuilt):
            venv.venv = make(RULED)
            venv.reset()
            venv.step(np.zeros(2, int))


def test_arrays_of_what_was_rebuilt_are_the_same_again():
    for original in (trained(FLAT), trained(NESTED, ["position"]), trained(RULED, kind=VecNormalize, rules=RULES)):
        arrays = statistics_to_arrays(original)
        again = statistics_to_arrays(vec_normalize_from_arrays(make(original.venv.observation_space), arrays))
        assert set(again) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.parametrize("rules", ["auto", RULES], ids=["auto", "rules"])
def test_the_space_of_the_environment_is_found_from_what_came_out(rules):
    original = trained(RULED, kind=VecNormalize, rules=rules)
    arrays = statistics_to_arrays(original)
    source = source_space(original.observation_space, arrays)
    assert {key: part.shape for key, part in source.spaces.items()} == {k: p.shape for k, p in RULED.spaces.items()}
    for key in ("angle", "mode", "levers", "raw", "image"):
        assert source[key] == RULED[key]
    rebuilt = frozen_from_arrays(make(source), arrays)
    raw = make(RULED).reset()
    for key in RULED.spaces:
        np.testing.assert_array_equal(rebuilt.normalize_obs(raw)[key], original.normalize_obs(raw)[key])


def test_flat_spaces_are_found_from_what_came_out():
    for space, rule in ((spaces.Discrete(3), "one_hot"), (FLAT, "bounds"), (FLAT, "running"), (FLAT, None)):
        original = VecNormalize(make(space), rules=rule)
        found = source_space(original.observation_space, statistics_to_arrays(original))
        assert (type(found), found.shape) == (type(space), space.shape)
        assert rule == "running" or found == space


@pytest.mark.parametrize(
    ("key", "part", "message"),
    [
        ("mode", spaces.Discrete(5, start=3), r"'mode'.*sizes 4.*has 5"),
        ("angle", spaces.Box(-2, 3, (2,), np.float64), r"'angle'.*high \[2.0, 2.0\].*\[3.0, 3.0\]"),
        ("angle", spaces.Discrete(2), r"'angle'.*'bounds' needs a Box"),
        ("speed/x", spaces.Box(-3, 5, (4,)), r"'speed/x'.*\(3,\).*\(4,\)"),
        ("image", spaces.Box(0, 255, (36, 36, 3), np.uint8), "'image'"),
        ("new", FLAT, r"environment has the observation key 'new'"),
    ],
)
def test_a_changed_space_is_refused_by_key(key, part, message):
    arrays = statistics_to_arrays(trained(RULED, kind=VecNormalize, rules=RULES))
    changed = spaces.Dict({**RULED.spaces, key: part})
    with pytest.raises(ValueError, match=message):
        frozen_from_arrays(make(changed), arrays)


def test_a_missing_key_is_refused_by_name():
    arrays = statistics_to_arrays(trained(RULED, kind=VecNormalize, rules=RULES))
    without = spaces.Dict({key: part for key, part in RULED.spaces.items() if key != "mode"})
    with pytest.raises(ValueError, match=r"observation key 'mode', but"):
        frozen_from_arrays(make(without), arrays)


def test_statistics_of_other_rules_are_refused_in_place_and_change_nothing():
    saved = trained(RULED, kind=VecNormalize, rules=RULES)
    other = trained(RULED, kind=VecNormalize, rules={**RULES, "angle": "running"})
    before = other.to_arrays()
    with pytest.raises(ValueError, match=r"'angle': saved with the rule 'bounds', but this wrapper has 'running'"):
        other.load_arrays(saved.to_arrays())
    with pytest.raises(ValueError, match=r"'episode_maximum'.*'return'"):
        other.load_arrays(
            trained(
                RULED, kind=VecNormalize, rules={**RULES, "angle": "running"}, reward_by="episode_maximum"
            ).to_arrays()
        )
    for name, array in other.to_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_statistics_are_taken_over_in_place_but_not_whether_to_learn():
    saved = trained(RULED, kind=VecNormalize, rules=RULES, clip_obs=1.5, gamma=0.5, norm_reward=False)
    other = VecNormalize(make(RULED), rules=RULES, clip_obs=2.5, training=False)
    other.load_arrays(statistics_to_arrays(saved))
    assert (other.clip_obs, other.gamma, other.training, other.norm_reward) == (1.5, 0.5, False, True)
    raw = make(RULED).reset()
    for key in RULED.spaces:
        np.testing.assert_array_equal(other.normalize_obs(raw)[key], saved.normalize_obs(raw)[key])
    other.training = True
    other.reset()
    assert other.obs_rms["speed/x"].count == saved.obs_rms["speed/x"].count + 2


@pytest.mark.parametrize("training", [True, False])
def test_the_wrapper_writes_and_reads_its_own_file(tmp_path, training):
    original = trained(RULED, kind=VecNormalize, rules=RULES)
    original.training = training
    original.save(tmp_path / "vecnormalize.pkl")  # the name that callbacks of SB3 give it
    rebuilt = VecNormalize.load(tmp_path / "vecnormalize.pkl", make(RULED))
    assert rebuilt.training is training
    assert rebuilt.norm_reward
    raw = make(RULED).reset()
    np.testing.assert_array_equal(rebuilt.normalize_obs(raw)["speed/x"], original.normalize_obs(raw)["speed/x"])
