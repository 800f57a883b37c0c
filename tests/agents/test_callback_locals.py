"""What callbacks find among their locals is what Stable-Baselines3's own algorithms show them: names, shapes, types."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

import agents
from tests.agents.drop_in import METHODS
from tests.agents.toys import RandomEnv

ARGUMENTS = {"callback": None, "log_interval": 3, "tb_log_name": "a name", "reset_num_timesteps": False}


class Beginning(BaseCallback):
    """Keeps the locals of the training's start, and of the first step."""

    def _on_training_start(self) -> None:
        self.begin = dict(self.locals)

    def _on_step(self) -> bool:
        self.first = dict(self.locals)
        return False


def seen(model: Any) -> Beginning:
    callback = Beginning()
    model.learn(10, **{**ARGUMENTS, "callback": callback})
    return callback


@pytest.mark.parametrize(
    ("cls", "twin", "policy"),
    [
        *[(cls, A2C if cls is agents.A3C else DQN, "MlpPolicy") for cls in METHODS],
        *[(agents.OffPAC, DQN, policy) for policy in ("LinearPolicy", "MlpPolicy")],
        *[(agents.DPG, DDPG, policy) for policy in ("LinearPolicy", "MlpPolicy")],
    ],
)
def test_the_training_start_shows_what_the_twin_in_sb3_shows(cls: Any, twin: Any, policy: str) -> None:
    env = "Pendulum-v1" if cls is agents.DPG else "CartPole-v1"
    model = cls(policy, env, seed=0, **({"n_workers": 1} if cls in METHODS else {}))
    ours, theirs = (seen(each).begin for each in (model, twin("MlpPolicy", env)))
    assert set(ours) == set(theirs)
    assert ours["self"] is model
    for name in ("total_timesteps", "log_interval", "tb_log_name", "reset_num_timesteps", "progress_bar"):
        assert ours[name] == theirs[name], name
    assert isinstance(ours["callback"], BaseCallback)
    assert ours.get("iteration") == theirs.get("iteration")


def box_env(shape: tuple[int, ...], dtype: Any) -> gym.Env:
    return RandomEnv(spaces.Box(-1, 1, (2,), np.float32), spaces.Box(-3.0, 1.0, shape, dtype))


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("behavior", ["uniform", "target"])
def test_off_pacs_discrete_buffer_actions_are_those_of_dqn(n_envs: int, behavior: str) -> None:
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")] * n_envs)
    model = agents.OffPAC("MlpPolicy", env, behavior_policy=behavior, buffer_size=50)
    ours, theirs = seen(model).first, seen(DQN("MlpPolicy", env, buffer_size=50)).first
    for name in ("actions", "buffer_actions"):
        assert (ours[name].shape, ours[name].dtype) == (theirs[name].shape, theirs[name].dtype) == ((n_envs,), np.int64)
    np.testing.assert_array_equal(ours["buffer_actions"], ours["actions"])


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (2, 3)])
@pytest.mark.parametrize(
    ("cls", "policy"),
    [(agents.OffPAC, "MlpPolicy"), (agents.DPG, "LinearPolicy"), (agents.DPG, "MlpPolicy")],
)
def test_buffer_actions_of_boxes_are_scaled_as_in_sb3(
    cls: Any, policy: str, shape: tuple[int, ...], dtype: Any, n_envs: int
) -> None:
    env = DummyVecEnv([lambda: box_env(shape, dtype)] * n_envs)
    # SAC, as DDPG puts noise of its own type on top
    theirs = seen(SAC("MlpPolicy", env, buffer_size=50)).first
    arguments = {"buffer_size": 50} if cls is agents.OffPAC else {}
    ours = seen(cls(policy, env, seed=0, **arguments)).first
    for name in ("actions", "buffer_actions"):
        assert (ours[name].shape, ours[name].dtype) == (theirs[name].shape, theirs[name].dtype)
    np.testing.assert_allclose(ours["buffer_actions"], (ours["actions"] + 1.0) / 2.0, atol=1e-6)


def test_what_replay_keeps_beside_an_action_is_not_shown_and_not_lost() -> None:
    model = agents.OffPAC("MlpPolicy", "CartPole-v1", behavior_policy=0.5, buffer_size=50, seed=0)
    taken: list[int] = []
    model.learn(20, callback=lambda found, _: taken.append(int(found["buffer_actions"][0])) or True)
    assert model.replay_buffer is not None
    stored = model.replay_buffer.actions[:20, 0]
    np.testing.assert_array_equal(stored[:, 0], taken)
    np.testing.assert_allclose(np.exp(stored[:, 1:]).sum(axis=1), 1.0, rtol=1e-5)
