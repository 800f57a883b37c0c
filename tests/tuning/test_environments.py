"""The environments of a run: what the agent sees, and what is reported."""

import importlib.util
import sys

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from agents.errors import MissingExtraError
from tuning.config import Normalize, resolve
from tuning.environments import check_known, evaluation_env, make_env, training_env
from tuning.errors import UsageError


def play_one_episode(venv, action=0):
    """Rewards until the first environment's episode ends, and Monitor's record of it."""
    venv.reset()
    rewards = []
    while True:
        _, reward, done, infos = venv.step(np.full(venv.num_envs, action))
        rewards.append(float(reward[0]))
        if done[0]:
            return rewards, infos[0]["episode"]


def test_training_environments_do_not_render():
    # SB3's make_vec_env asks for rgb_array, with which LunarLander simulates particles and is three times slower
    venv = training_env(resolve("ppo", "CartPole-v1"))
    assert venv.get_attr("render_mode") == [None] * 8
    assert type(venv) is DummyVecEnv
    assert venv.num_envs == 8


def test_the_agent_sees_scaled_rewards_and_monitor_unscaled_ones():
    rewards, episode = play_one_episode(make_env("CartPole-v1", reward_scale=0.1, seed=0))
    assert rewards == pytest.approx([0.1] * len(rewards))
    assert len(rewards) > 5
    assert episode["r"] == len(rewards), "CartPole gives 1 a step"
    assert episode["l"] == len(rewards)


def test_evaluation_sees_rewards_and_observations_as_they_are():
    settings = {"reward_scale": 0.1, "normalize.observation": True, "normalize.reward": True}
    config = resolve("a2c", "CartPole-v1", hyperparams=settings)
    venv = evaluation_env(config, 2)
    assert type(venv) is DummyVecEnv
    rewards, _ = play_one_episode(venv)
    assert set(rewards) == {1.0}


def test_normalization_is_set_up_as_configured():
    settings = {
        "normalize": {"observation": True, "clip_observation": 3.0, "clip_reward": 4.0, "epsilon": 0.5},
        "gamma": 0.7,
    }
    venv = training_env(resolve("a2c", "CartPole-v1", hyperparams=settings))
    assert isinstance(venv, VecNormalize)
    assert (venv.norm_obs, venv.norm_reward, venv.training) == (True, False, True)
    assert (venv.clip_obs, venv.clip_reward, venv.epsilon, venv.gamma) == (3.0, 4.0, 0.5, 0.7)


def test_normalized_rewards_are_discounted_as_the_algorithm_discounts():
    normalize = {"normalize.reward": True}
    assert training_env(resolve("a2c", "Acrobot-v1")).gamma == 0.99, "A2C's default"
    assert training_env(resolve("ppo", "MountainCarContinuous-v0")).gamma == 0.9999, "the zoo's"
    assert training_env(resolve("ars", "CartPole-v1", hyperparams=normalize)).gamma == 0.99, "ARS has no discount"


def test_without_normalization_nothing_is_wrapped():
    assert type(make_env("CartPole-v1", normalize=Normalize())) is DummyVecEnv


def test_environments_of_one_seed_start_alike_and_differ_among_each_other():
    first, again, other = (make_env("CartPole-v1", 2, seed=seed).reset() for seed in (5, 5, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_frame_stack_is_around_all_environments():
    venv = make_env("CartPole-v1", 2, wrappers=[{"frame_stack": 3}])
    assert isinstance(venv, VecFrameStack)
    assert venv.observation_space.shape == (12,)


def test_atari_wrappers_are_named_in_data():
    venv = make_env("ALE/Pong-v5", wrappers=["atari", {"frame_stack": 4}], env_kwargs={"frameskip": 1})
    assert venv.observation_space.shape == (84, 84, 4)
    assert make_env("ALE/Pong-v5", wrappers=[{"atari": {"screen_size": 40}}]).observation_space.shape == (40, 40, 1)


def test_an_atari_episode_is_reported_by_its_true_score_and_end():
    # AtariWrapper clips rewards and ends episodes at the loss of a life; Monitor lies inside of it
    venv = make_env("ALE/Breakout-v5", wrappers=["atari"], env_kwargs={"frameskip": 1})
    wrappers = []
    layer = venv.envs[0]
    while isinstance(layer, gym.Wrapper):
        wrappers.append(type(layer).__name__)
        layer = layer.env
    assert wrappers.index("AtariWrapper") < wrappers.index("Monitor") < wrappers.index("OrderEnforcing")


@pytest.mark.parametrize(
    ("env_id", "missing", "extra"),
    [
        ("ALE/Pong-v5", "ale_py", "atari"),
        ("PongNoFrameskip-v4", "ale_py", "atari"),
        ("HalfCheetah-v5", "mujoco", "mujoco"),
        ("LunarLander-v3", "Box2D", "box2d"),
    ],
)
def test_a_missing_extra_is_named_with_its_command(monkeypatch, env_id, missing, extra):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else real(name, *rest))
    monkeypatch.setitem(sys.modules, missing, None)  # importing it fails
    for name in [name for name in sys.modules if name.startswith(("gymnasium.envs.box2d", "gymnasium.envs.mujoco"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in gym.registry if name.startswith("ALE/") or "NoFrameskip" in name]:
        monkeypatch.delitem(gym.registry, name)
    with pytest.raises(MissingExtraError, match=rf'pip install "actorzoo\[{extra}\]"'):
        make_env(env_id)


def test_environments_of_a_module_become_known(make_module):
    make_module(
        "module_with_env",
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gym.register('FromModule-v0', CartPoleEnv, max_episode_steps=7)\n",
    )
    with pytest.raises(UsageError, match="no environment 'FromModule-v0'"):
        check_known("FromModule-v0")
    rewards, _ = play_one_episode(make_env("FromModule-v0", import_modules=["module_with_env"]))
    assert len(rewards) <= 7


def test_gymnasiums_own_notation_with_a_module_works(make_module):
    make_module(
        "another_with_env",
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gym.register('WithColon-v0', CartPoleEnv)\n",
    )
    assert make_env("another_with_env:WithColon-v0").num_envs == 1


def test_an_error_inside_an_environment_is_not_taken_for_a_wrong_argument(make_module):
    make_module(
        "broken_env",
        "import gymnasium as gym\n"
        "class Broken(gym.Env):\n"
        "    def __init__(self, render_mode=None):\n"
        "        raise TypeError('from inside')\n"
        "gym.register('Broken-v0', Broken)\n",
    )
    with pytest.raises(TypeError, match="from inside"):
        make_env("Broken-v0", import_modules=["broken_env"])
