"""Actions in [-1, 1]: the map, its refusals, single and vector environments."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

from wrappers import NormalizeAction, VecNormalizeAction

UNEVEN = spaces.Box(np.array([-2.0, 0.0, 7.0]), np.array([4.0, 0.1, 7.0]), dtype=np.float64)


class Echo(gym.Env):
    """Keeps the action it got."""

    observation_space = spaces.Box(-1, 1, (1,))

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert action in self.action_space
        return np.zeros(1, np.float32), 0.0, False, False, {"action": action}


def test_the_ends_and_the_middle_meet_the_bounds_exactly():
    env = NormalizeAction(Echo(UNEVEN))
    env.reset()
    assert env.action_space == spaces.Box(-1, 1, (3,), np.float32)
    for action, expected in ((-1, UNEVEN.low), (1, UNEVEN.high), (0, [1.0, 0.05, 7.0])):
        got = env.step(np.full(3, action, np.float32))[4]["action"]
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == np.float64


def test_every_float32_box_is_met_whatever_the_rounding():
    rng = np.random.default_rng(0)
    for _ in range(200):
        low, high = np.sort(rng.normal(0, 10 ** rng.uniform(-3, 3), (2, 5)), axis=0).astype(np.float32)
        env = NormalizeAction(Echo(spaces.Box(low, high)))
        env.reset()
        for action in (-1.0, 1.0, *rng.uniform(-1, 1, 3)):
            env.step(np.full(5, action, np.float32))  # the environment asserts its bounds


def test_clipping_is_optional():
    space = spaces.Box(0, 10, (1,), np.float64)
    np.testing.assert_array_equal(NormalizeAction(Echo(space)).action(np.array([3.0])), [10])
    np.testing.assert_array_equal(NormalizeAction(Echo(space), clip=False).action(np.array([3.0])), [20])


@pytest.mark.parametrize("wrap", [NormalizeAction, lambda env: VecNormalizeAction(DummyVecEnv([lambda: env]))])
@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(np.array([-1.0, -np.inf]), np.array([1.0, 3.0])), r"dimensions \[\[1\]\] are unbounded.*bounds"),
        (spaces.Discrete(3), r"Discrete\(3\).*leave the wrapper out"),
        (spaces.Box(0, 5, (2,), np.int64), "floating-point"),
        (spaces.Dict({"a": spaces.Box(-1, 1, (2,))}), "composite.*single Box"),
        (spaces.Tuple([spaces.Box(-1, 1, (2,))]), "composite.*single Box"),
    ],
    ids=["unbounded", "discrete", "integers", "dict", "tuple"],
)
def test_other_action_spaces_are_refused_with_a_remedy(space, message, wrap):
    with pytest.raises(ValueError, match=message):
        wrap(Echo(space))


def test_the_environment_checker_is_content_and_the_spec_rebuilds_the_wrapper():
    env = NormalizeAction(gym.make("Pendulum-v1"), clip=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(env, skip_render_check=True)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    np.testing.assert_array_equal(again.action(np.array([2.0])), [4.0])


def test_vector_environments_get_the_same_actions_as_single_ones():
    single = NormalizeAction(gym.make("Pendulum-v1"))
    venv = VecNormalizeAction(make_vec_env("Pendulum-v1", 2, seed=3))
    assert venv.action_space == single.action_space
    observation, _ = single.reset(seed=3)
    np.testing.assert_array_equal(venv.reset()[0], observation)
    for action in (0.5, -2.0):
        observation, reward, *_ = single.step(np.array([action], np.float32))
        observations, rewards, _, _ = venv.step(np.array([[action], [0.1]], np.float32))
        np.testing.assert_array_equal(observations[0], observation)
        assert rewards[0] == pytest.approx(reward)
