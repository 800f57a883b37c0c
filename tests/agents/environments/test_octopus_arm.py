"""The octopus arm: forces that physics allows, rest, bending, reaching, endings."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import agents.environments  # noqa: F401
from agents.environments.octopus_arm import (
    N_NODES,
    PRESSURE,
    STIFFNESS,
    OctopusArm,
    areas,
    internal_forces,
    rest_shape,
)

ENV_ID = "actorzoo/OctopusArm-v0"
STILL = np.zeros((N_NODES, 2))
DORSAL, VENTRAL, TRANSVERSE = slice(0, 6), slice(6, 12), slice(12, 18)


@pytest.fixture
def bent():
    return rest_shape() + 0.15 * np.random.default_rng(0).normal(size=(N_NODES, 2))


def action(**parts):
    values = np.zeros(20, dtype=np.float32)
    places = {"dorsal": DORSAL, "ventral": VENTRAL, "transverse": TRANSVERSE, "clockwise": 18, "counterclockwise": 19}
    for name, value in parts.items():
        values[places[name]] = value
    return values


# The action space is [0, 1], as muscles only pull; the checker prefers [-1, 1].
@pytest.mark.filterwarnings("error", "ignore:.*symmetric and norm", "ignore:.*infinity")
def test_both_environment_checkers_are_content():
    gymnasium_check(gym.make(ENV_ID).unwrapped, skip_render_check=True)
    sb3_check(gym.make(ENV_ID), skip_render_check=True)


def test_the_paper_has_20_actions_50_observations_and_300_steps():
    env = gym.make(ENV_ID)
    assert env.action_space.shape == (20,)
    assert env.observation_space.shape == (50,)
    assert env.spec.max_episode_steps == 300


def test_areas():
    np.testing.assert_allclose(areas(rest_shape())[0], 1.0)
    stretched = rest_shape() * [2.0, 0.5] + [3.0, -1.0]
    stretched[0, 0] -= 1.0  # one corner one further out: a triangle of base 1 and height .5 * 1 more
    np.testing.assert_allclose(areas(stretched)[0], [1.25, 1.0, 1.0, 1.0, 1.0, 1.0])


def test_passive_forces_are_minus_the_gradient_of_the_energy(bent):
    def energy(positions):
        total = 0.5 * PRESSURE * ((areas(positions)[0] - 1) ** 2).sum()
        for i in range(6):
            for start, stop in ((i, i + 1), (7 + i, 8 + i), (1 + i, 8 + i)):
                total += 0.5 * STIFFNESS * (np.linalg.norm(positions[stop] - positions[start]) - 1) ** 2
        return total

    forces = internal_forces(bent, STILL, np.zeros(18))
    for node in range(N_NODES):
        for entry in range(2):
            step = np.zeros((N_NODES, 2))
            step[node, entry] = 1e-6
            slope = (energy(bent + step) - energy(bent - step)) / 2e-6
            assert forces[node, entry] == pytest.approx(-slope, abs=1e-5)


def test_internal_forces_neither_push_nor_turn_the_arm_as_a_whole(bent):
    random = np.random.default_rng(1)
    forces = internal_forces(bent, random.normal(size=(N_NODES, 2)), random.random(18))
    assert np.abs(forces).max() > 1
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-12)
    assert np.sum(bent[:, 0] * forces[:, 1] - bent[:, 1] * forces[:, 0]) == pytest.approx(0.0, abs=1e-12)


def test_an_active_muscle_pulls_its_ends_together_by_its_tension():
    activations = np.zeros(18)
    activations[2] = 0.5
    forces = internal_forces(rest_shape(), STILL, activations)
    expected = np.zeros((N_NODES, 2))
    expected[2, 0], expected[3, 0] = 10.0, -10.0
    np.testing.assert_allclose(forces, expected, atol=1e-12)


def test_the_arm_at_rest_stays_there():
    env = OctopusArm()
    first, _ = env.reset(seed=0)
    for _ in range(50):
        observation, reward, terminated, truncated, _ = env.step(action())
    np.testing.assert_array_equal(observation, first)
    assert (reward, terminated, truncated) == (0.0, False, False)


def test_contracting_one_side_bends_the_arm_towards_it():
    heights = {}
    for side in ("dorsal", "ventral"):
        env = OctopusArm()
        env.reset(seed=0)
        for _ in range(60):
            env.step(action(**{side: 0.3}))
        heights[side] = env._positions[[6, 13], 1].mean()
    assert heights["dorsal"] > 0.5
    assert heights["ventral"] == pytest.approx(-heights["dorsal"], rel=1e-6)


def test_contracting_across_lengthens_the_arm_as_its_area_is_kept():
    env = OctopusArm()
    env.reset(seed=0)
    for _ in range(200):
        env.step(action(transverse=0.5))
    assert env._positions[6, 0] > 6.2


def test_what_was_disturbed_comes_to_rest():
    env = OctopusArm()
    env.reset(seed=0)
    for _ in range(40):
        env.step(action(dorsal=1.0, counterclockwise=0.3))
    for _ in range(1500):
        env._advance(np.zeros(18), 0.0)
    assert np.abs(env._velocities).max() < 0.05
    np.testing.assert_allclose(areas(env._positions)[0], 1.0, atol=0.02)


def test_turning_the_base_strikes_the_target_and_rewards_add_up_to_the_way_there():
    env = OctopusArm()
    env.reset(seed=0)
    start, rewards, terminated = env._distance(), [], False
    while not terminated:
        _, reward, terminated, _, info = env.step(action(counterclockwise=1.0))
        rewards.append(reward)
        assert len(rewards) < 300
    assert sum(rewards) == pytest.approx(start - info["distance"] + 50)
    assert info["distance"] < 0.3
    assert rewards[-1] > 50 > max(rewards[:-1])


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_done_to_it_the_arm_stays_in_one_piece(seed):
    env = OctopusArm()
    env.reset(seed=0)
    random = np.random.default_rng(seed)
    for _ in range(300):
        observation, *_ = env.step((random.random(20) < 0.5).astype(np.float32))
        assert np.isfinite(observation).all()
    assert np.abs(env._positions).max() < 12
    assert areas(env._positions)[0].min() > 0.2


def test_actions_are_clipped():
    observations = []
    for scale in (1.0, 50.0):
        env = OctopusArm()
        env.reset(seed=0)
        observations.append(env.step(scale * action(dorsal=1.0, clockwise=1.0) - (scale > 1) * action(ventral=9.0))[0])
    np.testing.assert_array_equal(*observations)
