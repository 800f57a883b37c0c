"""The environments that systems are compared on: wrapped alike for all, never rendered."""

from collections.abc import Callable

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack

PONG = "PongNoFrameskip-v4"


def make_env(env_id: str) -> gym.Env:
    """One environment with a Monitor; Pong as 84 x 84 grey frames, four of them a decision."""
    if env_id != PONG:
        return Monitor(gym.make(env_id))
    import ale_py
    from stable_baselines3.common.atari_wrappers import AtariWrapper

    gym.register_envs(ale_py)
    return AtariWrapper(Monitor(gym.make(env_id)))


def make_vec_env(env_id: str, n_envs: int, subprocesses: bool = False) -> VecEnv:
    """Several, in one process or in one each; Pong with the last four frames stacked."""
    makers: list[Callable[[], gym.Env]] = [lambda: make_env(env_id) for _ in range(n_envs)]
    venv: VecEnv = SubprocVecEnv(makers, start_method="forkserver") if subprocesses else DummyVecEnv(makers)
    return VecFrameStack(venv, 4) if env_id == PONG else venv
