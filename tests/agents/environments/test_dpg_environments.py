"""The environments of Silver et al. (2014): dynamics by hand, endings, clipping, registration."""

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import agents.environments
from agents.environments.bandit import ContinuousBandit, cost, cost_matrix
from agents.environments.mountain_car import ContinuousMountainCar, DegrisMountainCar
from agents.environments.pendulum import ContinuousPendulum, DegrisPendulum
from agents.environments.puddle_world import ContinuousPuddleWorld, depth_at

BANDITS = [f"actorzoo/ContinuousBandit{m}-v0" for m in (10, 25, 50)]
CONTROL = [f"actorzoo/Continuous{name}-v0" for name in ("MountainCar", "Pendulum", "PuddleWorld")]


def box(*entries):
    return np.array(entries, dtype=np.float32)


@pytest.mark.parametrize("env_id", [*BANDITS, *CONTROL])
# A bandit's action space is as the checkers like it only for problems whose scale they know.
@pytest.mark.filterwarnings("error", "ignore:.*symmetric and norm")
def test_both_environment_checkers_are_content(env_id):
    gymnasium_check(gym.make(env_id).unwrapped, skip_render_check=True)
    sb3_check(gym.make(env_id), skip_render_check=True)


@pytest.mark.parametrize(("env_id", "limit"), [*((e, 5000) for e in CONTROL), *((e, None) for e in BANDITS)])
def test_control_is_truncated_after_5000_steps_and_a_bandit_never(env_id, limit):
    assert gym.spec(env_id).max_episode_steps == limit


def test_registering_twice_changes_nothing():
    before = gym.spec(BANDITS[0])
    agents.environments.register_environments()
    assert gym.spec(BANDITS[0]) is before


# bandit


@pytest.mark.parametrize(("m", "ones", "mean_cost"), [(10, 5, 88.0), (25, 13, 227.2), (50, 25, 440.0)])
def test_costs_have_the_papers_eigenvalues_in_a_rotation_of_the_seed(m, ones, mean_cost):
    matrix = cost_matrix(m, np.random.default_rng(0))
    eigenvalues = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(eigenvalues, [0.1] * (m - ones) + [1.0] * ones, rtol=1e-12)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(matrix, cost_matrix(m, np.random.default_rng(0)))
    # a*^T C a* varies with the rotation around 16 tr C.
    assert 16 * np.trace(matrix) == pytest.approx(mean_cost)
    draws = [float(cost(cost_matrix(m, np.random.default_rng(seed)), np.zeros(m))) for seed in range(400)]
    assert np.mean(draws) == pytest.approx(mean_cost, rel=4 * np.std(draws) / mean_cost / math.sqrt(400))


def test_the_basis_is_uniformly_distributed():
    # No axis is preferred: every diagonal entry is the mean eigenvalue on average.
    diagonal = np.mean([np.diag(cost_matrix(10, np.random.default_rng(seed))) for seed in range(600)], axis=0)
    np.testing.assert_allclose(diagonal, 0.55, atol=0.03)


def test_the_bandits_reward_is_minus_the_quadratic_cost():
    env = ContinuousBandit(3)
    env.reset(seed=5)
    env._matrix = np.array([[1.0, 0.2, 0.0], [0.2, 0.5, 0.0], [0.0, 0.0, 0.1]])
    # a - a* = (1, -2, 3): 1 + .5 * 4 + .1 * 9 + 2 * .2 * 1 * -2 = 3.1
    _, reward, terminated, truncated, info = env.step(box(5, 2, 7))
    assert reward == pytest.approx(-3.1)
    assert info["cost"] == pytest.approx(3.1)
    assert terminated
    assert not truncated
    assert env.step(box(4, 4, 4))[1] == 0.0


def test_a_bandit_stays_the_same_problem_until_it_is_seeded_anew():
    env = gym.make(BANDITS[0]).unwrapped
    env.reset(seed=1)
    first = env.matrix
    env.reset()
    assert env.matrix is first
    env.reset(seed=2)
    assert not np.allclose(env.matrix, first)
    env.reset(seed=1)
    np.testing.assert_array_equal(env.matrix, first)


def test_a_bandit_says_what_it_needs():
    with pytest.raises(ValueError, match=r"n_dims=0, but .* at least one"):
        ContinuousBandit(0)
    with pytest.raises(gym.error.ResetNeeded, match="call reset first"):
        ContinuousBandit(2).step(box(0, 0))


# mountain car and pendulum


@pytest.mark.parametrize(("discrete", "acceleration"), [(0, -1.0), (1, 0.0), (2, 1.0)])
def test_the_car_with_three_actions_is_the_continuous_one_at_three_points(discrete, acceleration):
    ours, theirs = ContinuousMountainCar(), DegrisMountainCar()
    ours.reset(seed=0)
    theirs.reset(seed=0)
    for _ in range(300):
        one, two = ours.step(box(acceleration)), theirs.step(np.int64(discrete))
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:] == two[1:]


def test_the_car_accelerates_by_any_amount_and_no_more_than_one():
    env = ContinuousMountainCar()
    env.reset()
    velocity = 0.001 * 0.25 - 0.0025 * math.cos(-1.5)
    observation, reward, terminated, truncated, _ = env.step(box(0.25))
    np.testing.assert_allclose(observation, [-0.5 + velocity, velocity], rtol=1e-6)
    assert (reward, terminated, truncated) == (-1.0, False, False)
    env.reset()
    at_edge, *_ = env.step(box(1.0))
    env.reset()
    beyond, *_ = env.step(box(7.0))
    np.testing.assert_array_equal(at_edge, beyond)
    env._position, env._velocity = 0.58, 0.05
    assert env.step(box(0.0))[2]


@pytest.mark.parametrize(("discrete", "torque"), [(0, -2.0), (1, 0.0), (2, 2.0)])
def test_the_pole_with_three_torques_is_the_continuous_one_at_three_points(discrete, torque):
    ours, theirs = ContinuousPendulum(), DegrisPendulum()
    np.testing.assert_array_equal(ours.reset(seed=4)[0], theirs.reset(seed=4)[0])
    for _ in range(300):
        one, two = ours.step(box(torque)), theirs.step(np.int64(discrete))
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:] == two[1:]


def test_the_pole_takes_any_torque_and_no_more_than_two():
    env = ContinuousPendulum()
    env.reset(seed=0)
    for given, taken in ((0.7, 0.7), (-5.0, -2.0), (2.5, 2.0)):
        env._angle, env._velocity = 0.3, 1.5
        observation, reward, terminated, truncated, _ = env.step(box(given))
        velocity = 1.5 - 0.015 + 9.8 * math.sin(0.3) + taken
        np.testing.assert_allclose(observation, [0.3 + 0.01 * velocity, velocity], rtol=1e-6)
        assert reward == pytest.approx(math.cos(0.3 + 0.01 * velocity))
        assert not terminated
        assert not truncated


# puddle world


def test_depth_is_the_distance_to_the_puddles_edge():
    for (x, y), depth in {
        (0.2, 0.75): 0.1,  # on the center line of the first
        (0.2, 0.68): 0.03,
        (0.04, 0.67): 0.0,  # diagonally off its left end, at .06, .08: exactly the radius
        (0.07, 0.71): 0.05,  # at .03, .04
        (0.45, 0.5): 0.1,  # on the center line of the second
        (0.52, 0.5): 0.03,
        (0.48, 0.34): 0.1 - math.hypot(0.03, 0.06),
        (0.45, 0.85): 0.05,  # beyond its upper end
        (0.42, 0.7): 0.07,  # .05 from the first and .03 from the second: the deeper one counts, once
        (0.9, 0.1): 0.0,
    }.items():
        assert depth_at(x, y) == pytest.approx(depth, abs=1e-12)


def test_puddles_cost_400_times_their_depth_where_the_step_ends():
    env = ContinuousPuddleWorld()
    seen = 0
    for seed in range(300):
        env.reset(seed=seed)
        env._x, env._y = 0.3, 0.62
        observation, reward, terminated, truncated, _ = env.step(box(0.0, 1.0))
        assert reward == pytest.approx(-1 - 400 * depth_at(*observation.tolist()), abs=1e-3)
        assert not terminated
        assert not truncated
        seen += reward < -2
    assert seen > 100


def test_moves_are_a_twentieth_of_the_action_with_normal_noise():
    env = ContinuousPuddleWorld()
    shifts = []
    for seed in range(400):
        env.reset(seed=seed)
        env._x, env._y = 0.7, 0.3
        observation, *_ = env.step(box(0.5, -3.0))
        shifts.append(observation - (0.7 + 0.025, 0.3 - 0.05))
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0.0, atol=4 * 0.01 / 20)
    np.testing.assert_allclose(np.std(shifts, axis=0), 0.01, rtol=0.15)


def test_the_puddle_worlds_goal_is_its_upper_right_corner():
    env = ContinuousPuddleWorld()
    env.reset(seed=0)
    env._x, env._y = 0.99, 0.99
    observation, _, terminated, truncated, _ = env.step(box(1.0, 1.0))
    assert terminated
    assert not truncated
    assert observation.max() <= 1.0
    env._x, env._y = 0.9, 0.85
    assert not env.step(box(0.0, 0.0))[2]


def test_the_puddle_worlds_starts_cover_the_square_outside_the_goal():
    env = ContinuousPuddleWorld()
    starts = np.array([env.reset(seed=seed)[0] for seed in range(2000)])
    assert starts.sum(axis=1).max() < 1.9
    np.testing.assert_allclose(starts.mean(axis=0), 0.5, atol=0.03)
    assert starts.min() < 0.01
