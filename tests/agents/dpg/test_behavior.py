"""Who acts: noise that belongs to one environment and one episode, and models that are sampled."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC, TD3
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.dpg import DPG
from agents.dpg.behavior import make_behavior
from tests.agents.dpg.toys import BoxProcess, scaled


class Clock(ActionNoise):
    """Noise that tells the time: k / 100 in both entries at its k-th step since it began anew."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0

    def reset(self) -> None:
        self.time = 0

    def __call__(self) -> np.ndarray:
        self.time += 1
        return np.full(2, self.time / 100.0)


class Timed(BoxProcess):
    """Remembers at which step of its episode it was given each action, counted from 1."""

    def __init__(self) -> None:
        super().__init__("vector", dtype=np.float64)
        self.times: list[int] = []

    def step(self, action: Any) -> Any:
        self.times.append(self.clock + 1)
        return super().step(action)


def standing(policy: str, env: Any, **arguments: Any) -> DPG:
    """A model whose mu is 0 everywhere and stays so: what is executed is the noise."""
    kwargs = {} if policy == "LinearPolicy" else {"net_arch": [4]}
    model = DPG(policy, env, learning_rate=0.0, policy_kwargs=kwargs, seed=0, **arguments)
    with th.no_grad():
        for part in model.policy.parameters():
            part.zero_()
    return model


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize("variant", ["copdac-q", "on-policy"])
@pytest.mark.parametrize(("n_envs", "callback"), [(1, None), (1, lambda *_: True), (3, None)])
def test_each_environments_noise_takes_one_step_a_step_and_begins_anew_with_its_own_episodes(
    policy: str, variant: str, n_envs: int, callback: Any
) -> None:
    """Also with Sarsa, whose noise is asked for a' at s', and for an action at s only where an episode begins."""
    env = DummyVecEnv([Timed] * n_envs)
    standing(policy, env, variant=variant, action_noise=Clock()).learn(60 * n_envs, callback=callback)
    processes: list[Any] = env.envs
    for process in processes:
        np.testing.assert_allclose(100.0 * scaled(process.received), np.tile(process.times, (2, 1)).T, atol=1e-9)
        assert process.times.count(1) > 5
        assert max(process.times) > 5
    # Episodes end one by one, so that a noise that began anew with another's would show.
    assert len({tuple(process.times) for process in processes}) == n_envs


@pytest.mark.parametrize("n_envs", [1, 2])
def test_the_default_is_normal_noise_of_a_twentieth_of_the_action_range(n_envs: int) -> None:
    """0.1 in units of half the range, as documented; 4000 draws give a deviation to within about 1 %."""
    env = DummyVecEnv([lambda: BoxProcess("index", dtype=np.float64)] * n_envs)
    standing("LinearPolicy", env).learn(4000)
    processes: list[Any] = env.envs
    executed = scaled(np.concatenate([process.received for process in processes]))
    np.testing.assert_allclose(executed.std(axis=0), 0.1, rtol=0.05)
    np.testing.assert_allclose(executed.mean(axis=0), 0.0, atol=0.01)


@pytest.mark.parametrize("as_policy", [False, True])
def test_a_model_with_a_stochastic_policy_is_sampled(as_policy: bool) -> None:
    """A2C begins with a standard normal of its mean in environment units: 1 / 8 of half this range."""
    helper = wide_helper(A2C)
    behavior = make_behavior(helper.policy if as_policy else helper, None, helper.action_space, 1)
    observations = np.tile([[0.3, -0.2]], (4000, 1)).astype(np.float32)
    mean, _ = helper.predict(observations[:1], deterministic=True)
    actions = behavior.act(observations, np.zeros((4000, 2)))
    np.testing.assert_allclose(actions.std(axis=0), 1.0 / 8.0, rtol=0.05)
    np.testing.assert_allclose(actions.mean(axis=0), mean[0] / 8.0, atol=0.01)


def test_a_squashed_policy_is_sampled_and_a_deterministic_one_repeats_itself() -> None:
    observations = np.tile([[0.3, -0.2]], (200, 1)).astype(np.float32)
    for cls, spread in ((SAC, True), (TD3, False)):
        helper = wide_helper(cls, buffer_size=10)
        behavior = make_behavior(helper, None, helper.action_space, 1)
        actions = behavior.act(observations, np.zeros((200, 2)))
        # SAC begins with a deviation near 1 before tanh.
        assert (actions.std(axis=0) > 0.3).all() == spread
        assert (np.ptp(actions, axis=0) < 1e-6).all() != spread


def wide_helper(cls: Any, **arguments: Any) -> Any:
    """A small model of Stable-Baselines3 in a box so wide that nothing is clipped."""
    env = BoxProcess("square", dtype=np.float32)
    env.action_space = spaces.Box(-8.0, 8.0, (2,))
    env.observation_space = spaces.Box(-1.0, 1.0, (2,))
    return cls("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, device="cpu", seed=0, **arguments)


@pytest.mark.parametrize("cls", [PPO, SAC])
def test_a_model_with_state_dependent_exploration_explores_anew_in_every_step(cls: Any) -> None:
    env = gym.make("Pendulum-v1")
    helper = cls("MlpPolicy", env, use_sde=True, seed=0, device="cpu", policy_kwargs={"log_std_init": -1.0})
    model = DPG("LinearPolicy", env, behavior_policy=helper, seed=0)
    observation = np.array([[1.0, 0.0, 0.5]], dtype=np.float32)
    actions = [float(model.behavior.act(observation, np.zeros((1, 1)))[0, 0]) for _ in range(5)]
    assert len(set(actions)) == 5
