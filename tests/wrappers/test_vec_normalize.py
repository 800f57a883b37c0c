"""VecNormalize: SB3's numbers, rules by key, freezing, merging, refusals, and SB3's algorithms on top of it."""

import copy

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import ARS
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage, sync_envs_normalization
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from wrappers import RunningStatistics, VecNormalize

FREE = spaces.Box(-np.inf, np.inf, (3,), np.float32)
BOUNDED = spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
MIXED = spaces.Dict({"speed": FREE, "angle": BOUNDED, "mode": spaces.Discrete(4, start=2), "camera": IMAGE})
BOXES = spaces.Dict({"speed": FREE, "angle": BOUNDED, "camera": spaces.Box(0, 255, (4, 5, 3), np.uint8)})


class Walk(gym.Env):
    """Samples of a space, scaled per coordinate where it is free; episodes of five steps, every other one truncated."""

    def __init__(self, space=FREE, seed=0, action_space=None):
        self.observation_space = copy.deepcopy(space)
        self.action_space = action_space or spaces.Discrete(2)
        self.source = copy.deepcopy(space)  # SB3's VecNormalize writes into the environment's own Dict space
        self.source.seed(seed)
        self.rng = np.random.default_rng(seed)
        self.episode = -1

    def observe(self):
        observation = self.source.sample()
        if isinstance(observation, dict):
            return observation
        return (
            (observation * [3, 0.1, 100] + [5, 0, 1e3]).astype(np.float32)
            if self.observation_space == FREE
            else observation
        )

    def reset(self, *, seed=None, options=None):
        self.t = 0
        self.episode += 1
        return self.observe(), {}

    def step(self, action):
        self.t += 1
        over = self.t == 5
        cut = bool(self.episode % 2)
        return self.observe(), float(self.rng.normal(2, 5)), over and not cut, over and cut, {}


def make(space=FREE, n_envs=2, seed=0, action_space=None):
    return DummyVecEnv([lambda i=i: Walk(space, seed + i, action_space) for i in range(n_envs)])


def step(venv):
    if isinstance(venv.action_space, spaces.Discrete):
        return venv.step(np.zeros(venv.num_envs, int))
    return venv.step(np.zeros((venv.num_envs, *venv.action_space.shape), np.float32))


def run(venv, n=23):
    return [venv.reset(), *(step(venv) for _ in range(n))]


def assert_same(actual, expected, **tolerance):
    if isinstance(expected, dict):
        assert set(actual) == set(expected)
        for key, part in expected.items():
            assert_same(actual[key], part, **tolerance)
    else:
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, **tolerance)


SETTINGS = [
    {},
    {"norm_obs": False},
    {"norm_reward": False},
    {"training": False},
    {"clip_obs": 0.7, "clip_reward": 0.6, "gamma": 0.5, "epsilon": 1e-2},
]


# ---- the numbers of SB3 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize(("space", "keys"), [(FREE, None), (BOXES, None), (BOXES, ["speed"]), (IMAGE, None)])
def test_on_the_same_stream_it_gives_the_numbers_of_sb3(space, keys, n_envs, settings):
    if settings.get("norm_obs") is False:
        keys = None
    ours = VecNormalize(make(space, n_envs), norm_obs_keys=keys, **settings)
    theirs = SB3VecNormalize(make(space, n_envs), norm_obs_keys=keys, **settings)
    assert ours.observation_space == theirs.observation_space
    assert ours.norm_obs_keys == theirs.norm_obs_keys
    n = 12 if space == IMAGE else 23
    tolerance = {"rtol": 1e-4, "atol": 1e-5}  # SB3 averages float32 batches in float32
    for mine, their in zip(run(ours, n), run(theirs, n), strict=True):
        if not isinstance(their, tuple):
            assert_same(mine, their, **tolerance)
            continue
        assert_same(mine[0], their[0], **tolerance)
        assert_same(mine[1], their[1], **tolerance)
        np.testing.assert_array_equal(mine[2], their[2])
        for info, expected in zip(mine[3], their[3], strict=True):
            assert info.keys() == expected.keys()
            assert info["TimeLimit.truncated"] == expected["TimeLimit.truncated"]
            if "terminal_observation" in expected:
                assert_same(info["terminal_observation"], expected["terminal_observation"], **tolerance)
    np.testing.assert_allclose(ours.returns, theirs.returns, rtol=1e-6)
    assert_same(ours.get_original_obs(), theirs.get_original_obs())
    assert_same(ours.get_original_reward(), theirs.get_original_reward())
    assert ours.ret_rms.count == pytest.approx(theirs.ret_rms.count)
    if settings.get("norm_obs", True):
        for key in [None] if space in (FREE, IMAGE) else ours.norm_obs_keys:
            mine, their = (v.obs_rms if key is None else v.obs_rms[key] for v in (ours, theirs))
            assert mine.count == pytest.approx(their.count)
            np.testing.assert_allclose(mine.mean, their.mean, rtol=1e-5)
            np.testing.assert_allclose(mine.var, their.var, rtol=1e-4)


@pytest.mark.parametrize(("space", "keys"), [(FREE, None), (BOXES, ["speed", "camera"])])
def test_with_the_same_statistics_it_gives_the_bits_of_sb3(space, keys):
    theirs = SB3VecNormalize(make(space), norm_obs_keys=keys, clip_reward=1.5)
    run(theirs)
    ours = VecNormalize(make(space), norm_obs_keys=keys, clip_reward=1.5)
    sync_envs_normalization(theirs, ours)
    raw, rewards = make(space, 4, seed=9).reset(), np.random.default_rng(0).normal(0, 9, 50).astype(np.float32)
    assert_same(ours.normalize_obs(raw), theirs.normalize_obs(raw), rtol=0)
    assert_same(ours.normalize_reward(rewards), theirs.normalize_reward(rewards), rtol=0)
    normalized = ours.normalize_obs(raw)
    assert_same(ours.unnormalize_obs(normalized), theirs.unnormalize_obs(normalized), rtol=0)
    assert_same(ours.unnormalize_reward(rewards), theirs.unnormalize_reward(rewards), rtol=0)
    for venv in (ours, theirs):
        venv.training = False
    for mine, their in zip(run(ours, 7)[1:], run(theirs, 7)[1:], strict=True):
        # the two streams have different pasts, so only what is done with them is compared
        assert mine[1].dtype == their[1].dtype == np.float32
    assert_same(ours.normalize_obs(ours.get_original_obs()), theirs.normalize_obs(ours.get_original_obs()), rtol=0)


def test_statistics_count_the_prior_every_step_and_every_reset():
    venv = VecNormalize(make(n_envs=3))
    venv.reset()
    for _ in range(7):
        step(venv)
    venv.reset()
    assert venv.obs_rms.count == pytest.approx(1e-4 + 3 * 7 + 3 * 2, abs=1e-12)
    assert venv.ret_rms.count == pytest.approx(1e-4 + 3 * 7, abs=1e-12)


def test_returns_start_anew_after_termination_truncation_and_reset():
    venv = VecNormalize(make(n_envs=1))
    venv.reset()
    for _ in range(2):  # a terminated and a truncated episode
        for t in range(1, 6):
            _, _, dones, _ = step(venv)
            assert dones[0] == (t == 5)
            assert (venv.returns[0] == 0) == (t == 5)
        step(venv)
        np.testing.assert_allclose(venv.returns, venv.get_original_reward(), rtol=1e-6)
        for _ in range(4):
            step(venv)
    step(venv)
    venv.reset()
    assert venv.returns[0] == 0


def test_a_batch_is_not_changed_and_not_kept():
    venv = VecNormalize(make(MIXED), rules="auto")
    normalized = venv.reset()
    raw = venv.get_original_obs()
    before = copy.deepcopy(raw)
    again = venv.normalize_obs(raw)
    for key in raw:
        np.testing.assert_array_equal(raw[key], before[key])
        again[key][:] = 0
        normalized[key][:] = 0
        np.testing.assert_array_equal(venv.get_original_obs()[key], before[key])


def test_changed_settings_take_effect():
    venv = VecNormalize(make())
    run(venv)
    raw = venv.get_original_obs() * 1e6
    assert np.abs(venv.normalize_obs(raw)).max() == 10
    venv.clip_obs, venv.clip_reward, venv.gamma = 3.0, 0.25, 0.0
    assert np.abs(venv.normalize_obs(raw)).max() == 3
    venv.epsilon = 1e30
    assert np.abs(venv.normalize_obs(venv.get_original_obs())).max() < 1e-6
    venv.epsilon = 1e-8
    rewards = [step(venv)[1] for _ in range(9)]
    assert np.abs(rewards).max() == 0.25
    venv.returns[:] = 7
    venv.gamma = 0.5
    step(venv)
    np.testing.assert_allclose(venv.returns[0], 3.5 + venv.get_original_reward()[0], rtol=1e-6)


# ---- rules -----------------------------------------------------------------------------------------------------------


def test_rules_by_key_declare_and_give_what_they_promise():
    venv = VecNormalize(make(MIXED), rules={"camera": "image", "speed": "running"}, clip_obs=5.0)
    assert venv.observation_space == spaces.Dict(
        {
            "speed": spaces.Box(-5, 5, (3,), np.float32),
            "angle": spaces.Box(-1, 1, (2,), np.float32),
            "mode": spaces.Box(0, 1, (4,), np.float32),
            "camera": spaces.Box(0, 1, (36, 36, 3), np.float32),
        }
    )
    for output in run(venv, 6):
        observations = output[0] if isinstance(output, tuple) else output
        for i in range(2):
            assert {key: part[i] for key, part in observations.items()} in venv.observation_space
    raw = venv.get_original_obs()
    np.testing.assert_allclose(observations["angle"], raw["angle"] / [2, 5] - [0, 1], atol=1e-6)
    np.testing.assert_array_equal(observations["camera"], raw["camera"] / np.float32(255))
    np.testing.assert_array_equal(observations["mode"], raw["mode"])  # categories are kept encoded
    assert observations["mode"].sum() == 2
    assert list(venv.obs_rms) == ["speed"]
    assert sorted(venv.norm_obs_keys) == ["angle", "camera", "mode", "speed"]


def test_auto_leaves_images_to_the_policy():
    assert VecNormalize(make(MIXED), rules="auto").observation_space["camera"] == IMAGE
    assert VecNormalize(make(IMAGE), rules="auto").observation_space == IMAGE


@pytest.mark.parametrize(
    ("space", "rules", "declared"),
    [
        (BOUNDED, "bounds", spaces.Box(-1, 1, (2,), np.float32)),
        (FREE, "running", spaces.Box(-10, 10, (3,), np.float32)),
        (spaces.Discrete(3), "one_hot", spaces.Box(0, 1, (3,), np.float32)),
        (spaces.MultiDiscrete([2, 3]), "auto", spaces.Box(0, 1, (5,), np.float32)),
        (FREE, "pass", FREE),
    ],
    ids=str,
)
def test_flat_observations_take_rules_too(space, rules, declared):
    venv = VecNormalize(make(space), rules=rules)
    assert venv.observation_space == declared
    for output in run(venv, 12):
        observations = output[0] if isinstance(output, tuple) else output
        assert all(observation in declared for observation in observations)
    final = [info["terminal_observation"] for info in run(venv, 5)[-1][3]]
    assert all(observation in declared for observation in final)
    assert hasattr(venv, "obs_rms") == (rules == "running")


def test_the_spaces_of_the_environment_below_stay_as_they_are():
    venv = make(MIXED)
    VecNormalize(venv, rules={"camera": "image"})
    assert venv.observation_space == MIXED
    venv = make(BOXES)
    VecNormalize(venv)
    assert venv.observation_space == BOXES


def test_categories_encoded_or_not_are_told_apart():
    venv = VecNormalize(make(spaces.Discrete(3), 3), rules="one_hot")
    unit = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(venv.normalize_obs(np.array([0, 1, 2])), unit)
    np.testing.assert_array_equal(venv.normalize_obs(np.int64(1)), unit[1])
    np.testing.assert_array_equal(venv.normalize_obs(unit), unit)
    np.testing.assert_array_equal(venv.normalize_obs(unit[1]), unit[1])
    np.testing.assert_array_equal(venv.unnormalize_obs(unit), unit)
    np.testing.assert_array_equal(venv.normalize_obs(np.array([[0, 1], [2, 2]])), unit[[[0, 1], [2, 2]]])


def test_inverse_of_bounds_gives_the_environments_units():
    venv = VecNormalize(make(BOUNDED), rules="bounds")
    raw = np.array([[1.0, 2.5], [-2.0, 10.0]], np.float32)
    np.testing.assert_allclose(venv.unnormalize_obs(venv.normalize_obs(raw)), raw, rtol=1e-6)


@pytest.mark.parametrize("by", ["return", "reward", "episode_maximum"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_rewards_can_be_scaled_by_other_measures(by, n_envs):
    venv = VecNormalize(make(n_envs=n_envs), reward_by=by, clip_reward=np.inf)
    venv.reset()
    rewards, sums, largest = [], np.zeros(n_envs), 0.0
    for _ in range(11):
        _, scaled, dones, _ = step(venv)
        rewards.append(venv.get_original_reward())
        sums += rewards[-1]
        largest = max(largest, np.abs(sums).max())
        sums[dones] = 0
    n = np.size(rewards) + 1e-4
    divisor = {
        "return": np.sqrt(venv.ret_rms.var + 1e-8),
        "reward": np.sqrt((np.square(rewards).sum() + 1e-4) / n),
        "episode_maximum": largest,
    }[by]
    np.testing.assert_allclose(scaled, rewards[-1] / divisor, rtol=1e-5)
    np.testing.assert_array_equal(venv.normalize_reward(rewards[-1]), scaled)


def test_warm_up_and_decay_reach_observations_and_rewards():
    venv = VecNormalize(make(n_envs=2), warmup=5, decay=0.9, clip_obs=np.inf, clip_reward=np.inf)
    np.testing.assert_array_equal(venv.reset(), venv.get_original_obs())
    _, rewards, _, _ = step(venv)
    np.testing.assert_array_equal(rewards, venv.get_original_reward())
    observations = step(venv)[0]
    assert np.abs(observations).max() < 10
    assert not np.array_equal(observations, venv.get_original_obs())
    assert venv.obs_rms.count == pytest.approx(2 + 2 * 0.81 + 2 * 0.81**2, abs=1e-3)


# ---- freezing and merging --------------------------------------------------------------------------------------------


def test_frozen_it_changes_nothing_and_goes_on_afterwards():
    venv = VecNormalize(make())
    run(venv)
    before = venv.to_arrays()
    with venv.freeze() as same:
        assert same is venv
        run(venv)
        assert not venv.training
        for name in ("obs_rms", "ret_rms"):
            with pytest.raises(RuntimeError, match="frozen"):
                getattr(venv, name).update(np.zeros((1, *getattr(venv, name).shape)))
        with pytest.raises(RuntimeError, match="frozen"):
            venv.merge(VecNormalize(make()))
    for name, array in venv.to_arrays().items():
        np.testing.assert_array_equal(array, before[name])
    step(venv)
    assert venv.obs_rms.count == before["obs_rms/count"] + 2
    venv.training = False
    with venv.freeze():
        pass
    assert not venv.training
    with pytest.raises(RuntimeError, match=r"training=False"):
        venv.merge(VecNormalize(make()))


def test_a_freeze_block_inside_another_does_not_end_it():
    venv = VecNormalize(make())
    with venv.freeze():
        with venv.freeze():
            pass
        assert not venv.training
        with pytest.raises(RuntimeError, match="frozen"):
            venv.obs_rms.update(np.zeros((1, *venv.obs_rms.shape)))
    venv.obs_rms.update(np.zeros((1, *venv.obs_rms.shape)))


@pytest.mark.parametrize("kind", [VecNormalize, SB3VecNormalize])
@pytest.mark.parametrize(("space", "name"), [(FREE, None), (BOXES, "speed")])
def test_a_merge_equals_having_seen_both_streams(kind, space, name):
    one, two = VecNormalize(make(space, seed=0)), kind(make(space, seed=5))
    run(one, 17)
    run(two, 9)
    both = VecNormalize(make(space))
    streams = [
        [o if not isinstance(o, tuple) else o[0] for o in run(make(space, seed=s), n)] for s, n in ((0, 17), (5, 9))
    ]
    for batch in streams[0] + streams[1]:
        for key, statistics in both.obs_rms.items() if name else [(None, both.obs_rms)]:
            statistics.update(batch if key is None else batch[key])
    one.merge(two)
    merged, expected = (v.obs_rms if name is None else v.obs_rms[name] for v in (one, both))
    tight = 1e-12 if kind is VecNormalize else 1e-5
    assert merged.count == pytest.approx(expected.count, abs=1e-9)
    np.testing.assert_allclose(merged.mean, expected.mean, rtol=tight)
    np.testing.assert_allclose(merged.var, expected.var, rtol=tight)
    assert one.ret_rms.count == pytest.approx(1e-4 + 2 * 26, abs=1e-9)


def test_a_merge_of_another_kind_changes_nothing():
    venv = VecNormalize(make())
    run(venv)
    before = venv.to_arrays()
    other_shape = VecNormalize(make(spaces.Box(-np.inf, np.inf, (4,))))
    with pytest.raises(ValueError, match=r"obs_rms.*\(4,\).*\(3,\)"):
        venv.merge(other_shape)
    with pytest.raises(ValueError, match="obs_rms/speed"):
        venv.merge(VecNormalize(make(BOXES)))
    for name, array in venv.to_arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_merge_keeps_the_larger_episode_maximum():
    one, two = (VecNormalize(make(seed=s), reward_by="episode_maximum") for s in (0, 1))
    run(one)
    run(two)
    largest = max(one.largest_sum, two.largest_sum)
    assert one.largest_sum != two.largest_sum
    one.merge(two)
    two.merge(one)
    assert one.largest_sum == two.largest_sum == largest


# ---- refusals --------------------------------------------------------------------------------------------------------


class Broken(Walk):
    """Gives one bad number, in the observation or in the reward, at the third step."""

    def __init__(self, space, bad, where):
        super().__init__(space)
        self.bad, self.where, self.total = bad, where, 0

    def step(self, action):
        observation, reward, *rest = super().step(action)
        self.total += 1
        if self.total == 3:
            if self.where == "reward":
                reward = self.bad
            elif self.where == "observation":
                observation[1] = self.bad
            else:
                observation[self.where][1] = self.bad
        return observation, reward, *rest


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize(
    ("space", "where"), [(FREE, "observation"), (FREE, "reward"), (spaces.Dict({"a": FREE, "speed": FREE}), "speed")]
)
def test_numbers_that_are_not_finite_are_refused_by_key(space, where, n_envs, bad, training):
    envs = [Walk(space, i) for i in range(n_envs - 1)] + [Broken(space, bad, where)]
    venv = VecNormalize(DummyVecEnv([lambda env=env: env for env in envs]), training=training)
    venv.reset()
    step(venv)
    step(venv)
    name = "observation 'speed'" if where == "speed" else where
    index = r"\(\)" if where == "reward" else r"\(1,\)"
    with pytest.raises(ValueError, match=rf"{name}: {bad} in row {n_envs - 1} of {n_envs} \(index {index}"):
        step(venv)


def test_a_feature_without_variance_becomes_zero_and_is_clipped_when_it_varies():
    constant = np.full((2, 3), 0.1, np.float32)
    venv = VecNormalize(make())
    venv.obs_rms = RunningStatistics((3,))  # without the prior
    for _ in range(3):
        venv.obs_rms.update(constant)
    np.testing.assert_array_equal(venv.normalize_obs(constant), 0.0)
    assert np.abs(venv.normalize_obs(constant + 1)).max() == 10.0


def test_statistics_of_another_shape_put_in_are_refused():
    venv = VecNormalize(make(BOXES))
    venv.obs_rms["speed"] = RunningMeanStd(shape=(4,))
    with pytest.raises(ValueError, match=r"observation 'speed'.*\(4,\).*\(3,\)"):
        venv.reset()
    venv = VecNormalize(make())
    venv.ret_rms = RunningMeanStd(shape=(2,))
    venv.reset()
    with pytest.raises(ValueError, match=r"reward.*\(2,\).*\(\)"):
        step(venv)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rules": {"speeed": "running"}}, r"'speeed'.*did you mean 'speed'"),
        ({"rules": {"mode": "running"}}, r"observation 'mode'.*needs a Box.*'one_hot'"),
        ({"rules": {"speed": "bounds"}}, r"observation 'speed'.*not bounded"),
        ({"rules": "auto", "norm_obs_keys": ["speed"]}, "Both norm_obs_keys and rules"),
        ({"rules": "auto", "norm_obs": False}, "norm_obs=False"),
        ({}, "VecNormalize only supports"),  # SB3's words, for SB3's way
        ({"rules": "auto", "gamma": 99}, "gamma=99"),
        ({"rules": "auto", "epsilon": 0.0}, "epsilon=0.0"),
        ({"rules": "auto", "clip_obs": -1.0}, "clip=-1.0"),
        ({"rules": "auto", "reward_by": "max"}, "by='max'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VecNormalize(make(MIXED), **arguments)


# ---- with SB3 --------------------------------------------------------------------------------------------------------


def test_it_is_an_sb3_vec_normalize():
    venv = VecNormalize(make())
    model = A2C("MlpPolicy", venv, n_steps=4, device="cpu")
    assert isinstance(venv, SB3VecNormalize)
    assert model.get_vec_normalize_env() is venv


@pytest.mark.parametrize("direction", ["ours to theirs", "theirs to ours", "ours to ours"])
@pytest.mark.parametrize("space", [FREE, BOXES])
def test_evaluation_environments_are_synchronized_between_kinds(direction, space):
    kinds = {"ours": VecNormalize, "theirs": SB3VecNormalize}
    source, target = (kinds[name](make(space)) for name in direction.split(" to "))
    run(source)
    sync_envs_normalization(source, target)
    raw = make(space, seed=9).reset()
    assert_same(target.normalize_obs(raw), source.normalize_obs(raw), rtol=1e-6)
    before = target.normalize_obs(raw)
    run(source)
    assert_same(target.normalize_obs(raw), before, rtol=0)  # copies, not the same objects
    run(target, 2)


def test_eval_callback_evaluates_with_the_statistics_of_training():
    train, evaluation = VecNormalize(make()), VecNormalize(make(n_envs=1), training=False, norm_reward=False)
    callback = EvalCallback(evaluation, eval_freq=8, n_eval_episodes=1, verbose=0, warn=False)
    A2C("MlpPolicy", train, n_steps=8, device="cpu").learn(32, callback=callback)
    assert evaluation.obs_rms.count == pytest.approx(1e-4 + 2 * 16 + 2, abs=1e-9)


def test_off_policy_algorithms_store_what_was_not_normalized():
    venv = VecNormalize(make(action_space=spaces.Box(-1, 1, (1,))))
    model = SAC("MlpPolicy", venv, learning_starts=10, buffer_size=100, batch_size=16, device="cpu")
    model.learn(40)
    stored = model.replay_buffer.observations[: model.replay_buffer.pos]
    np.testing.assert_allclose(stored[..., 2].mean(), 1e3, atol=200)  # units of the environment
    sample = model.replay_buffer.sample(64, env=venv)
    assert np.abs(sample.observations.numpy()).max() <= 10
    finals = model.replay_buffer.next_observations[4, 0]  # the end of the first episode
    assert abs(finals[2] - 1e3) < 600


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_algorithms_learn_from_rules_on_and_off_policy(algorithm):
    venv = VecNormalize(make(MIXED), rules="auto")
    if algorithm == "PPO":
        model = PPO("MultiInputPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, device="cpu")
        model.learn(16)
    else:
        # SB3's buffers ask for what VecNormalize was given, so images must be transposed below it
        venv = VecNormalize(VecTransposeImage(make(MIXED)), rules="auto")
        model = DQN("MultiInputPolicy", venv, learning_starts=8, buffer_size=64, batch_size=8, device="cpu")
        model.learn(24)
        sample = model.replay_buffer.sample(32, env=venv).observations
        assert sample["camera"].max() > 1  # left to the policy
        np.testing.assert_array_equal(sample["mode"].sum(-1), 1)
        assert np.abs(sample["angle"].numpy()).max() <= 1
    action, _ = model.predict(venv.reset())
    assert action.shape == (2,)


def test_ars_may_change_the_count():
    venv = VecNormalize(make(n_envs=1))
    ARS("LinearPolicy", venv, n_delta=2, device="cpu").learn(40)
    assert venv.obs_rms.count > 20
    statistics = RunningStatistics((2,))
    statistics.update(np.array([[1.0, 2.0], [3.0, 6.0]]))
    statistics.count -= 1
    assert (statistics.count, statistics.mean.tolist(), statistics.var.tolist()) == (1, [2, 4], [1, 4])


def test_a_pickled_copy_takes_new_environments_and_keeps_the_numbers():
    venv = VecNormalize(make(MIXED), rules="auto")
    run(venv)
    twin = cloudpickle.loads(cloudpickle.dumps(venv))
    twin.set_venv(make(MIXED))
    raw = make(MIXED, seed=9).reset()
    assert_same(twin.normalize_obs(raw), venv.normalize_obs(raw), rtol=0)
    run(twin)
    assert venv.obs_rms["speed"].n_samples * 2 == twin.obs_rms["speed"].n_samples
    with pytest.raises(ValueError, match="environments already"):
        twin.set_venv(make(MIXED))


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (spaces.Dict({"speed": FREE}), r"keys \['angle', 'camera', 'speed'\].*\['speed'\]"),
        (spaces.Dict({**BOXES.spaces, "speed": spaces.Box(-1, 1, (9,))}), r"observation 'speed'.*\(3,\).*\(9,\)"),
        (spaces.Dict({**BOXES.spaces, "speed": spaces.MultiBinary(3)}), r"observation 'speed'.*Box.*MultiBinary"),
        (FREE, "observation: .*Dict.*Box"),
    ],
)
def test_a_pickled_copy_refuses_other_environments(now, message):
    twin = cloudpickle.loads(cloudpickle.dumps(VecNormalize(make(BOXES))))
    with pytest.raises(ValueError, match=message):
        twin.set_venv(make(now))
