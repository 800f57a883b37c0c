"""Learners of the value methods, and segments for them, without the engine."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.dqn.policies import DQNPolicy

from agents.async_q.learner import Method, ValueLearner, ValueRecipe
from agents.asynchronous.learner import Setting
from agents.asynchronous.segment import Segment
from agents.common.flat import FlatParameters
from tests.agents.a3c.learning import Rollout
from tests.agents.toys import RandomEnv

METHODS: tuple[Method, ...] = ("one-step Q", "one-step Sarsa", "n-step Q")


def make_recipe(method: Method = "n-step Q", epsilon: float = 0.4, **changes: Any) -> ValueRecipe:
    """Gamma .1 keeps digits readable; one epsilon all along unless changed."""
    settings: dict[str, Any] = {
        "method": method,
        "gamma": 0.1,
        "target_update_interval": 10**9,
        "initial_epsilon": epsilon,
        "final_epsilons": (epsilon,) * 4,
        "exploration_fraction": 1.0,
    }
    return ValueRecipe(**settings | changes)


def make_policy(
    observation_space: spaces.Space[Any],
    n_actions: int = 3,
    seed: int = 0,
    cls: type[DQNPolicy] = DQNPolicy,
    **arguments: Any,
) -> DQNPolicy:
    """A policy whose target network differs from its own, as after some learning."""
    torch.manual_seed(seed)
    policy = cls(observation_space, spaces.Discrete(n_actions), lambda _: 0.0, **arguments)
    with torch.no_grad():
        for network in (policy.q_net, policy.q_net_target):
            for parameter in network.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return policy


def make_setting(policy: DQNPolicy, n_steps: int, n_envs: int, worker: int = 0, seed: int = 0) -> Setting:
    flat = FlatParameters(policy.q_net.parameters())
    target = FlatParameters(policy.q_net_target.parameters())
    return Setting(
        policy=policy,
        flat=flat,
        parameters=flat.vector.numpy(),
        gradient=flat.gradient.numpy(),
        segment=Segment(policy.observation_space, policy.action_space, n_steps, n_envs),
        worker=worker,
        seed=np.random.SeedSequence(seed),
        arrays={
            "parameters": flat.vector.numpy(),
            "target": target.vector.numpy(),
            "target_copied_at": np.zeros(1, dtype=np.int64),
        },
    )


def rollout_of(learner: ValueLearner, setting: Setting, seed: int = 0, **ends: float) -> Rollout:
    envs: list[gym.Env] = [
        RandomEnv(setting.policy.observation_space, setting.policy.action_space, **ends)
        for _ in range(setting.segment.n_envs)
    ]
    return Rollout(learner, setting.segment, envs, seed)


def observation_of(segment: Segment, t: int, i: int) -> Any:
    row = segment.observation_row(t)
    return {key: rows[i] for key, rows in row.items()} if isinstance(row, dict) else row[i]


def value_of(policy: DQNPolicy, observation: Any, target: bool = False) -> torch.Tensor:
    """Q(s, .) by SB3's own network, (n_actions,)."""
    network = policy.q_net_target if target else policy.q_net
    return network(policy.obs_to_tensor(observation)[0])[0]
