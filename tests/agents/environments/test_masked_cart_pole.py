"""MaskedCartPole is CartPole-v1 in everything but what it shows."""

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

import agents.environments  # noqa: F401 - registers it


def test_it_shows_position_and_angle_of_the_same_cart_pole():
    masked, full = gym.make("actorzoo/MaskedCartPole-v0"), gym.make("CartPole-v1")
    shown, whole = masked.reset(seed=3)[0], full.reset(seed=3)[0]
    np.testing.assert_array_equal(shown, whole[[0, 2]])
    terminated, n_steps = False, 0
    while not terminated:
        shown, reward, terminated, truncated, _ = masked.step(n_steps % 2)
        whole, *expected = full.step(n_steps % 2)
        np.testing.assert_array_equal(shown, whole[[0, 2]])
        assert [reward, terminated, truncated] == expected[:3]
        n_steps += 1
    assert n_steps > 5


def test_it_ends_and_counts_as_cart_pole_v1_does():
    spec, original = gym.spec("actorzoo/MaskedCartPole-v0"), gym.spec("CartPole-v1")
    assert (spec.max_episode_steps, spec.reward_threshold) == (original.max_episode_steps, original.reward_threshold)


def test_it_passes_gymnasiums_checker():
    check_env(gym.make("actorzoo/MaskedCartPole-v0").unwrapped, skip_render_check=True)
