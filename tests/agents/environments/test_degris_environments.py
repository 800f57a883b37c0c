"""The environments of Degris, White and Sutton (2012): dynamics by hand, endings, registration."""

import math
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from scipy import stats
from stable_baselines3.common.env_checker import check_env as sb3_check

import agents.environments
from agents.environments.grid_world import ContinuousGridWorld, reward_at
from agents.environments.mountain_car import DegrisMountainCar
from agents.environments.pendulum import DegrisPendulum

IDS = ["actorzoo/DegrisMountainCar-v0", "actorzoo/DegrisPendulum-v0", "actorzoo/ContinuousGridWorld-v0"]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.filterwarnings("error")
def test_both_environment_checkers_are_content(env_id):
    gymnasium_check(gym.make(env_id).unwrapped, skip_render_check=True)
    sb3_check(gym.make(env_id), skip_render_check=True)


@pytest.mark.parametrize("env_id", IDS)
def test_episodes_are_truncated_after_5000_steps(env_id):
    assert gym.spec(env_id).max_episode_steps == 5000


def test_registering_twice_changes_nothing():
    before = gym.spec(IDS[0])
    agents.environments.register_environments()
    assert gym.spec(IDS[0]) is before


def test_the_environments_do_not_import_torch():
    made = "gymnasium.make('actorzoo/DegrisPendulum-v0')"
    code = f"import sys, gymnasium, agents.environments; {made}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mountain_car_moves_as_written_in_the_paper():
    env = DegrisMountainCar()
    observation, _ = env.reset()
    np.testing.assert_allclose(observation, [-0.5, 0.0])
    velocity = 0.001 - 0.0025 * math.cos(-1.5)
    observation, reward, terminated, truncated, _ = env.step(np.int64(2))
    np.testing.assert_allclose(observation, [-0.5 + velocity, velocity], rtol=1e-6)
    assert (reward, terminated, truncated) == (-1.0, False, False)
    second = velocity - 0.001 - 0.0025 * math.cos(3 * (-0.5 + velocity))
    observation, *_ = env.step(np.int64(0))
    np.testing.assert_allclose(observation, [-0.5 + velocity + second, second], rtol=1e-6)


def test_mountain_car_speed_wall_and_goal():
    env = DegrisMountainCar()
    env.reset()
    env._position, env._velocity = -1.15, -0.07
    observation, *_ = env.step(np.int64(0))
    np.testing.assert_allclose(observation, [-1.2, 0.0], rtol=1e-6)
    env._position, env._velocity = -0.1, 0.07
    observation, *_ = env.step(np.int64(2))
    assert observation[1] <= np.float32(0.07)
    # Gymnasium's car would be done at .5.
    env._position, env._velocity = 0.51, 0.03
    assert not env.step(np.int64(2))[2]
    env._position, env._velocity = 0.58, 0.05
    observation, _, terminated, *_ = env.step(np.int64(2))
    assert terminated
    assert env.observation_space.contains(observation)


def test_energy_pumping_needs_a_hundred_odd_steps():
    env = DegrisMountainCar()
    observation, _ = env.reset()
    steps, terminated = 0, False
    while not terminated:
        observation, _, terminated, *_ = env.step(np.int64(2 if observation[1] >= 0 else 0))
        steps += 1
    assert 100 < steps < 150


def test_pendulum_moves_as_written_in_the_paper():
    env = DegrisPendulum()
    env.reset(seed=0)
    env._angle, env._velocity = 0.3, 1.5
    observation, reward, terminated, truncated, _ = env.step(np.int64(0))
    velocity = 1.5 - 0.015 + 9.8 * math.sin(0.3) - 2.0
    angle = 0.3 + 0.01 * velocity
    np.testing.assert_allclose(observation, [angle, velocity], rtol=1e-6)
    assert reward == pytest.approx(math.cos(angle))
    assert not terminated
    assert not truncated


def test_pendulum_wraps_its_angle_and_limits_its_speed():
    env = DegrisPendulum()
    env.reset(seed=0)
    env._angle, env._velocity = 3.1, 78.0
    observation, *_ = env.step(np.int64(2))
    assert observation[1] == np.float32(78.54)
    assert observation[0] == pytest.approx(3.1 + 0.7854 - 2 * math.pi, abs=1e-5)
    starts = [env.reset()[0][0] for _ in range(300)]
    assert min(starts) < -2.8
    assert max(starts) > 2.8


def test_grid_world_rewards_are_products_of_normal_densities():
    def density(x, mean, deviation):
        return stats.norm.pdf(x, mean, deviation)

    for x, y in ((0.3, 0.6), (0.4, 0.5), (0.83, 0.7), (0.1, 0.1)):
        hills = density(x, 0.3, 0.1) * density(y, 0.6, 0.03)
        hills += density(x, 0.4, 0.03) * density(y, 0.5, 0.1)
        hills += density(x, 0.8, 0.03) * density(y, 0.9, 0.1)
        assert reward_at(x, y) == pytest.approx(-1 - 2 * hills)


@pytest.mark.parametrize(
    ("action", "move"), [(0, (0.05, 0)), (1, (-0.05, 0)), (2, (0, 0.05)), (3, (0, -0.05)), (4, (0, 0))]
)
def test_grid_world_moves_with_a_little_noise(action, move):
    env = ContinuousGridWorld()
    shifts = []
    for seed in range(200):
        start, _ = env.reset(seed=seed)
        np.testing.assert_allclose(start, [0.2, 0.4], rtol=1e-6)
        observation, reward, terminated, *_ = env.step(np.int64(action))
        assert reward == pytest.approx(reward_at(*observation.tolist()), rel=1e-3)
        assert not terminated
        shifts.append(observation - start - move)
    assert np.abs(shifts).max() <= 0.0025 + 1e-6
    assert np.std(shifts, axis=0) == pytest.approx([0.0025 / math.sqrt(3)] * 2, rel=0.15)


def test_grid_world_ends_in_the_upper_right_corner_and_keeps_to_the_square():
    env = ContinuousGridWorld()
    env.reset(seed=0)
    env._x, env._y = 0.91, 0.99
    assert not env.step(np.int64(1))[2]
    env._x, env._y = 0.97, 0.99
    observation, _, terminated, truncated, _ = env.step(np.int64(0))
    assert terminated
    assert not truncated
    assert observation[0] == 1.0
