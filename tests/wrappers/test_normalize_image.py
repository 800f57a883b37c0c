"""Images in [0, 1], everything else untouched."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from wrappers import NormalizeImage

IMAGE = spaces.Box(0, 255, (6, 7, 3), np.uint8)


class Camera(gym.Env):
    """Samples its space."""

    action_space = spaces.Discrete(2)

    def __init__(self, space=IMAGE):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def test_pixels_are_divided_by_255_and_the_ends_are_exact():
    env = NormalizeImage(Camera())
    assert env.observation_space == spaces.Box(0, 1, IMAGE.shape, np.float32)
    got = env.observation(np.arange(126, dtype=np.uint8).reshape(6, 7, 3))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got.reshape(-1), np.arange(126, dtype=np.float32) / np.float32(255))
    np.testing.assert_array_equal(env.observation(np.full(IMAGE.shape, 255, np.uint8)), 1.0)


def test_beside_an_image_everything_passes():
    space = spaces.Dict(
        {
            "camera": IMAGE,
            "speed": spaces.Box(-np.inf, np.inf, (2,)),
            "mode": spaces.Discrete(3),
            "eyes": spaces.Tuple([IMAGE, IMAGE]),
        }
    )
    env = NormalizeImage(Camera(space))
    unit = spaces.Box(0, 1, IMAGE.shape, np.float32)
    assert env.observation_space == spaces.Dict(
        {"camera": unit, "speed": space["speed"], "mode": space["mode"], "eyes": spaces.Tuple([unit, unit])}
    )
    raw = space.sample()
    got = env.observation(raw)
    assert got["mode"] == raw["mode"]
    np.testing.assert_array_equal(got["speed"], raw["speed"])
    np.testing.assert_array_equal(got["eyes"][1], raw["eyes"][1].astype(np.float32) / 255)


def test_it_works_where_the_environment_hands_out_floats():
    env = NormalizeImage(Camera())
    np.testing.assert_array_equal(env.observation(np.full(IMAGE.shape, 300.0)), 1.0)


def test_without_an_image_it_is_refused():
    with pytest.raises(ValueError, match=r"needs an image.*bounds"):
        NormalizeImage(Camera(spaces.Box(0, 1, (6, 7, 3), np.float32)))


def test_the_environment_checker_is_content():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(NormalizeImage(Camera()), skip_render_check=True)


def test_the_spec_rebuilds_the_wrapper():
    gym.register("tests/Camera-v0", entry_point=lambda: Camera())
    try:
        env = NormalizeImage(gym.make("tests/Camera-v0", disable_env_checker=True))
        again = gym.make(env.spec)
        assert isinstance(again, NormalizeImage)
        assert again.spec == env.spec
    finally:
        gym.registry.pop("tests/Camera-v0")
