"""How often DPG asks those who act for it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

import agents


class Counted(OrnsteinUhlenbeckActionNoise):
    """Knows how many steps it has taken."""

    steps = 0

    def __call__(self) -> np.ndarray:
        self.steps += 1
        return super().__call__()


class Episodes(gym.Env):
    """Nothing happens, for so many steps an episode."""

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)

    def __init__(self, length: int) -> None:
        self.length, self.clock = length, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.clock = 0
        return np.ones(1), {}

    def step(self, action: Any) -> Any:
        self.clock += 1
        return np.ones(1), 0.0, False, self.clock >= self.length, {}


@pytest.mark.parametrize(("variant", "per_episode"), [("copdac-q", 0), ("on-policy", 1)])
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_the_noise_of_an_environment_takes_no_step_when_another_ones_episode_ends(
    policy: str, variant: str, per_episode: int
) -> None:
    env = DummyVecEnv([lambda: Episodes(1000), lambda: Episodes(5)])
    model = agents.DPG(policy, env, variant=variant, action_noise=Counted(np.zeros(1), np.ones(1)), seed=0)
    model.learn(200)  # 100 steps of each, 20 episodes of the second
    # Sarsa draws a' at the end of every step, and the first action of an episode.
    expected = [100 + per_episode, 100 + 20 * per_episode]
    assert [noise.steps for noise in model.action_noise.noises] == expected


@pytest.mark.parametrize("cls", [PPO, SAC])
def test_a_model_with_state_dependent_exploration_explores_anew_in_every_step(cls: Any) -> None:
    env = gym.make("Pendulum-v1")
    helper = cls("MlpPolicy", env, use_sde=True, seed=0, device="cpu", policy_kwargs={"log_std_init": -1.0})
    model = agents.DPG("LinearPolicy", env, behavior_policy=helper, seed=0)
    observation = np.array([[1.0, 0.0, 0.5]], dtype=np.float32)
    actions = [float(model.behavior.act(observation, np.zeros((1, 1)))[0, 0]) for _ in range(5)]
    assert len(set(actions)) == 5
