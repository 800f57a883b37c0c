"""Observations by rules: numbers, spaces, checks, files, refusals."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import NormalizeObservation as GymnasiumNormalizeObservation
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from wrappers import NormalizeAction, NormalizeObservation

IMAGE = spaces.Box(0, 255, (4, 5, 3), np.uint8)
FREE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
BOUNDED = spaces.Box(np.array([-2.0, 0.0, 5.0]), np.array([2.0, 10.0, 5.0]), dtype=np.float64)
NESTED = spaces.Dict(
    {
        "camera": IMAGE,
        "arm": spaces.Dict({"speed": FREE, "angle": BOUNDED}),
        "mode": spaces.Discrete(3, start=5),
        "levers": spaces.MultiDiscrete([2, 3]),
        "lamps": spaces.MultiBinary(4),
        "pair": spaces.Tuple([FREE, spaces.Discrete(2)]),
    }
)


class Scripted(gym.Env):
    """Gives prepared observations, or samples of its space where none are left."""

    def __init__(self, space, observations=()):
        self.observation_space = space
        self.action_space = spaces.Discrete(2)
        self.script = list(observations)

    def observe(self):
        return self.script.pop(0) if self.script else self.observation_space.sample()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observe(), {}

    def step(self, action):
        return self.observe(), 1.0, False, False, {}


def observations_of(env, n):
    return [env.reset(seed=0)[0], *(env.step(0)[0] for _ in range(n - 1))]


def test_running_follows_gymnasium():
    def make():
        env = gym.make("CartPole-v1").unwrapped
        env.action_space.seed(3)
        return env

    ours = NormalizeObservation(make(), "running", clip=np.inf)
    theirs = GymnasiumNormalizeObservation(make())
    # Gymnasium's statistics are float32
    np.testing.assert_allclose(ours.reset(seed=1)[0], theirs.reset(seed=1)[0], atol=1e-6)
    for _ in range(30):
        action = ours.action_space.sample()
        np.testing.assert_allclose(ours.step(action)[0], theirs.step(action)[0], rtol=1e-4, atol=1e-6)


def test_running_by_hand():
    # prior of weight 1e-4 at 0: after x = 2 the mean is 2 / 1.0001 and M2 = 1e-4 + 4 * 1e-4 / 1.0001
    env = NormalizeObservation(Scripted(spaces.Box(-np.inf, np.inf, (1,)), [np.array([2.0], np.float32)]))
    mean = 2 / 1.0001
    var = (1e-4 + 4 * 1e-4 / 1.0001) / 1.0001
    np.testing.assert_allclose(env.reset()[0], (2 - mean) / np.sqrt(var + 1e-8), rtol=1e-4)


def test_auto_chooses_by_space_and_declares_what_comes_out():
    env = NormalizeObservation(Scripted(NESTED))
    unit = spaces.Box(0, 1, (4, 5, 3), np.float32)
    assert env.observation_space == spaces.Dict(
        {
            "camera": unit,
            "arm": spaces.Dict(
                {"speed": spaces.Box(-10, 10, (2,), np.float32), "angle": spaces.Box(-1, 1, (3,), np.float32)}
            ),
            "mode": spaces.Box(0, 1, (3,), np.float32),
            "levers": spaces.Box(0, 1, (5,), np.float32),
            "lamps": spaces.MultiBinary(4),
            "pair": spaces.Tuple([spaces.Box(-10, 10, (2,), np.float32), spaces.Box(0, 1, (2,), np.float32)]),
        }
    )
    for observation in observations_of(env, 20):
        assert observation in env.observation_space
    assert set(env.learning_statistics()) == {"arm/speed", "pair/0"}


def test_every_rule_gives_the_numbers_it_promises():
    observation = {
        "camera": np.full((4, 5, 3), 51, np.uint8),
        "arm": {"speed": np.array([1.0, 2.0], np.float32), "angle": np.array([1.0, 2.5, 5.0])},
        "mode": np.int64(6),
        "levers": np.array([1, 0]),
        "lamps": np.array([1, 0, 1, 1], np.int8),
        "pair": (np.array([3.0, 4.0], np.float32), np.int64(0)),
    }
    env = NormalizeObservation(Scripted(NESTED, [observation]), {"arm": {"speed": "pass"}, "pair": ["pass", "one_hot"]})
    got, _ = env.reset()
    np.testing.assert_array_equal(got["camera"], np.full((4, 5, 3), np.float32(51) / np.float32(255)))
    np.testing.assert_array_equal(got["arm"]["speed"], [1, 2])
    np.testing.assert_array_equal(got["arm"]["angle"], [0.5, -0.5, 0.0])  # equal bounds give 0
    np.testing.assert_array_equal(got["mode"], [0, 1, 0])
    np.testing.assert_array_equal(got["levers"], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(got["lamps"], [1, 0, 1, 1])
    np.testing.assert_array_equal(got["pair"][0], [3, 4])
    np.testing.assert_array_equal(got["pair"][1], [1, 0])


def test_bounds_can_be_given_and_clip_what_lies_outside():
    script = [np.array([0.0, 30.0], np.float32), np.array([9.0, -1.0], np.float32)]
    rule = {"rule": "bounds", "low": 0.0, "high": [4.0, 40.0]}
    env = NormalizeObservation(Scripted(FREE, script), rule)
    np.testing.assert_array_equal(env.reset()[0], [-1, 0.5])
    np.testing.assert_array_equal(env.step(0)[0], [1, -1])


@pytest.mark.parametrize(
    ("space", "chosen"),
    [
        (spaces.Box(-3, 3, (2,)), "bounds"),
        (spaces.Box(-3, np.inf, (2,)), "running"),
        (spaces.Box(-3.4e38, 3.4e38, (2,)), "running"),  # float32's largest number is no bound
        (spaces.Box(0, 255, (8,), np.uint8), "bounds"),
        (spaces.Box(0, 1, (8, 8, 3), np.float32), "bounds"),
        (IMAGE, "image"),
        (spaces.MultiBinary(3), "pass"),
        (spaces.Text(5), "pass"),
    ],
)
def test_auto(space, chosen):
    env = NormalizeObservation(Scripted(space))
    assert str(env.statistics_to_arrays()["observation/rule"]) == chosen


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("rules", ["running", "auto"])
def test_both_environment_checkers_are_content(env_id, rules, training):
    env = gym.make(env_id)
    if isinstance(env.action_space, spaces.Box):  # the checkers recommend it
        env = NormalizeAction(env)
    env = NormalizeObservation(env, rules, training=training)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(env, skip_render_check=True)
        sb3_check_env(env)


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
@pytest.mark.filterwarnings("ignore:.*nested|.*Nested|.*not supported|.*unconventional")
def test_the_checker_accepts_nested_spaces_and_images():
    check_env(NormalizeObservation(Scripted(NESTED), training=False), skip_render_check=True)


def test_the_spec_rebuilds_the_wrapper():
    rules = {"rule": "bounds", "low": -20.0, "high": 20.0}
    env = NormalizeObservation(gym.make("Pendulum-v1"), rules, clip=3.0, training=False)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again, NormalizeObservation)
    assert again.spec == env.spec
    np.testing.assert_array_equal(again.reset(seed=4)[0], env.reset(seed=4)[0])
    assert not env.spec.nondeterministic
    assert NormalizeObservation(gym.make("CartPole-v1")).spec.nondeterministic
    assert not NormalizeObservation(gym.make("Pendulum-v1"), "bounds").spec.nondeterministic  # nothing learns


def test_the_spec_can_be_written_as_json_with_bounds_in_arrays():
    rules = {"rule": "bounds", "low": np.array([-1.0, -2.0, -8.0]), "high": np.float32(8)}
    env = NormalizeObservation(gym.make("Pendulum-v1"), rules)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    observation = env.unwrapped.observation_space.high
    np.testing.assert_array_equal(again.get_wrapper_attr("normalize")(observation), env.normalize(observation))


def test_frozen_statistics_stay_and_say_so():
    env = NormalizeObservation(Scripted(NESTED))
    observations_of(env, 5)
    statistics = env.learning_statistics()["arm/speed"]
    before = statistics.to_flat().copy()
    with env.freeze():
        assert not env.training
        observations_of(env, 5)
        with pytest.raises(RuntimeError, match=r"observation 'arm/speed'.*frozen"):
            statistics.update(np.zeros((1, 2)))
    np.testing.assert_array_equal(statistics.to_flat(), before)
    env.step(0)
    assert statistics.n_samples == 6


def test_freezing_ends_also_when_the_block_raises():
    env = NormalizeObservation(Scripted(FREE))
    with pytest.raises(KeyError), env.freeze():
        raise KeyError
    assert env.training
    observations_of(env, 2)
    assert env.learning_statistics()[""].n_samples == 2


def test_normalize_does_not_learn():
    env = NormalizeObservation(Scripted(FREE))
    observations_of(env, 5)
    env.normalize(np.array([1.0, 2.0]))
    assert env.learning_statistics()[""].n_samples == 5


def test_statistics_go_through_a_file(tmp_path):
    env = NormalizeObservation(Scripted(NESTED))
    observations_of(env, 20)
    env.save_statistics(tmp_path / "statistics.npz")
    other = NormalizeObservation(Scripted(NESTED), training=False)
    other.load_statistics(tmp_path / "statistics.npz")
    observation = NESTED.sample()
    expected, actual = env.normalize(observation), other.normalize(observation)
    np.testing.assert_array_equal(actual["arm"]["speed"], expected["arm"]["speed"])
    np.testing.assert_array_equal(actual["pair"][0], expected["pair"][0])
    with pytest.raises(RuntimeError, match="frozen"):
        other.learning_statistics()["pair/0"].update(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("now", "rules", "message"),
    [
        (spaces.Dict({"a": spaces.Box(-np.inf, np.inf, (3,)), "b": BOUNDED}), "auto", r"'a'.*\(2,\).*\(3,\)"),
        (spaces.Dict({"a": FREE, "b": spaces.Box(-1, 1, (3,))}), "auto", r"'b'.*saved with low \[-2.0, 0.0, 5.0\]"),
        (spaces.Dict({"a": FREE, "c": BOUNDED}), "auto", r"environment has the observation '[bc]'|file has .*'[bc]'"),
        (spaces.Dict({"a": FREE, "b": BOUNDED}), {"b": "running"}, r"'b'.*'bounds'.*'running'"),
        (FREE, "auto", "file has the observation 'b', but the environment has not"),
    ],
    ids=["shape", "bounds", "key", "rule", "flat"],
)
def test_a_changed_space_is_refused_on_load_by_key(now, rules, message):
    saved = NormalizeObservation(Scripted(spaces.Dict({"a": FREE, "b": BOUNDED})))
    observations_of(saved, 3)
    with pytest.raises(ValueError, match=message):
        NormalizeObservation(Scripted(now), rules).load_arrays(saved.statistics_to_arrays())


def test_a_refused_load_changes_nothing():
    saved = NormalizeObservation(Scripted(spaces.Dict({"a": FREE, "b": FREE})))
    observations_of(saved, 3)
    arrays = saved.statistics_to_arrays()
    arrays["observation/b/mean"] = np.zeros(3)
    now = NormalizeObservation(Scripted(spaces.Dict({"a": FREE, "b": FREE})))
    with pytest.raises(ValueError, match=r"'b'.*\(3,\)"):
        now.load_arrays(arrays)
    assert now.learning_statistics()["a"].n_samples == 0


def test_changed_categories_are_refused_on_load():
    saved = NormalizeObservation(Scripted(spaces.Discrete(3)))
    with pytest.raises(ValueError, match=r"sizes 3.*has 4"):
        NormalizeObservation(Scripted(spaces.Discrete(4))).load_arrays(saved.statistics_to_arrays())


@pytest.mark.parametrize("rules", ["running", {"rule": "bounds", "low": -9, "high": 9}])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_name_the_key(rules, training, bad):
    space = spaces.Dict({"speed": FREE})
    env = NormalizeObservation(Scripted(space, [{"speed": np.array([0, bad])}]), {"speed": rules}, training=training)
    with pytest.raises(ValueError, match=rf"observation 'speed': {bad}.*\(index \(1,\)\)"):
        env.reset()


def test_a_feature_without_variance_becomes_zero_and_is_clipped_when_it_varies():
    script = [np.array([0.1, t], np.float32) for t in range(9)] + [np.array([0.2, 0.0], np.float32)]
    env = NormalizeObservation(Scripted(FREE, script), clip=5.0)
    got = observations_of(env, 9)
    assert all(abs(observation[0]) < 0.02 for observation in got)  # only the prior keeps the mean off 0.1
    assert np.abs(env.step(0)[0]).max() <= 5.0


def test_without_clipping_the_space_is_unbounded():
    env = NormalizeObservation(Scripted(FREE), clip=float("inf"))
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (2,), np.float32)


def test_categories_outside_their_range_name_the_key():
    env = NormalizeObservation(Scripted(spaces.Dict({"mode": spaces.Discrete(3)}), [{"mode": np.int64(3)}]))
    with pytest.raises(ValueError, match=r"'mode'.*Discrete\(3\).*\[3\]"):
        env.reset()


def test_an_observation_of_another_shape_names_the_key():
    for rules in ("running", {"rule": "bounds", "low": -1, "high": 1}):
        env = NormalizeObservation(Scripted(FREE, [np.zeros(3)]), rules)
        with pytest.raises(ValueError, match=r"observation: .*\(1, 3\).*\(2,\)"):
            env.reset()


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ({"camera": "runing"}, ValueError, r"'camera'.*'runing'.*did you mean 'running'"),
        ({"camra": "image"}, ValueError, r"'camra'.*did you mean 'camera'"),
        ("running", ValueError, r"'lamps'.*needs a Box.*'pass'"),
        ({"lamps": "one_hot"}, ValueError, r"'lamps'.*Discrete or MultiDiscrete.*'pass'"),
        ({"arm": {"speed": "bounds"}}, ValueError, r"'arm/speed'.*not bounded everywhere"),
        ({"arm": {"speed": "image"}}, ValueError, r"'arm/speed'.*two dimensions.*'running'"),
        ({"camera": {"rule": "image", "low": 0}}, ValueError, r"'camera'.*only 'bounds'"),
        ({"camera": {"low": 0}}, ValueError, r"'camera'.*entries rule, low and high"),
        ({"camera": {"rule": "bounds", "lo": 0}}, ValueError, r"'camera'.*entries rule, low and high"),
        ({"wall": "image"}, ValueError, r"'wall'.*finite bounds.*'running'"),
        ({"camera": 3}, TypeError, r"'camera'.*type int"),
        ({"pair": ["pass"]}, ValueError, r"'pair'.*1 rules for a Tuple of 2"),
        ({"pair": 3}, TypeError, r"'pair'.*int"),
        (3, TypeError, "int"),
        ({"arm": {"angle": {"rule": "bounds", "low": [1, 2]}}}, ValueError, r"'arm/angle'.*low has shape \(2,\)"),
        ({"arm": {"angle": {"rule": "bounds", "low": 9, "high": 1}}}, ValueError, r"'arm/angle'.*above high"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_by_key(rules, error, message):
    space = spaces.Dict({**NESTED.spaces, "wall": spaces.Box(0, np.inf, (4, 5))})
    with pytest.raises(error, match=message):
        NormalizeObservation(Scripted(space), rules)


@pytest.mark.parametrize("option", [{"epsilon": 0.0}, {"clip": 0.0}, {"clip": float("nan")}, {"decay": 2.0}])
def test_options_outside_their_range_are_named(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        NormalizeObservation(Scripted(FREE), **option)


def test_warm_up_and_decay_reach_the_statistics():
    env = NormalizeObservation(Scripted(FREE, [np.array([5.0, 7.0])] * 2), warmup=3, decay=0.5)
    np.testing.assert_array_equal(env.reset()[0], [5, 7])
    env.step(0)
    assert env.learning_statistics()[""].count == pytest.approx(1.5, abs=1e-3)
