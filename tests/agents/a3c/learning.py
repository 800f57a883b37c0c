"""Segments for tests of A3C's learners, filled without the engine."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy

from agents.a3c.recipe import A3CRecipe
from agents.asynchronous.learner import Learner, Setting
from agents.asynchronous.segment import Segment
from agents.common.flat import FlatParameters
from tests.agents.toys import RandomEnv

RECIPE = A3CRecipe(gamma=0.9, gae_lambda=1.0, ent_coef=0.03, vf_coef=0.7)


def make_policy(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    seed: int = 0,
    cls: type[ActorCriticPolicy] = ActorCriticPolicy,
    **arguments: Any,
) -> ActorCriticPolicy:
    """A policy whose outputs differ clearly from action to action; SB3's own start is close to uniform."""
    torch.manual_seed(seed)
    policy = cls(observation_space, action_space, lambda _: 0.0, **arguments)
    with torch.no_grad():
        for parameter in policy.action_net.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
        for parameter in policy.value_net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if hasattr(policy, "log_std"):
            policy.log_std.copy_(0.3 * torch.randn_like(policy.log_std))
    return policy


def make_setting(policy: BasePolicy, n_steps: int, n_envs: int, seed: int = 0) -> Setting:
    flat = FlatParameters(policy.parameters())
    return Setting(
        policy=policy,
        flat=flat,
        parameters=flat.vector.numpy(),
        gradient=flat.gradient.numpy(),
        segment=Segment(policy.observation_space, policy.action_space, n_steps, n_envs),
        worker=0,
        seed=np.random.SeedSequence(seed),
        arrays={},
    )


class Rollout:
    """Steps environments into a segment with a learner's actions, as plainly as can be."""

    def __init__(self, learner: Learner, segment: Segment, envs: list[gym.Env], seed: int = 0) -> None:
        self.learner, self.segment, self.envs = learner, segment, envs
        for i, env in enumerate(envs):
            segment.put_observation(0, i, env.reset(seed=seed + i)[0])

    def fill(self, n_steps: int) -> None:
        """One segment; a single environment's ends where its episode ends."""
        segment = self.segment
        segment.begin()
        self.learner.begin(0, 0.0)
        for t in range(n_steps):
            actions = self.learner.act(t)
            ended = False
            for i, env in enumerate(self.envs):
                observation, segment.rewards[t, i], terminated, truncated, _ = env.step(actions[i])
                if terminated or truncated:
                    ended = True
                    segment.mark_end(t, i, terminated, observation)
                    observation, _ = env.reset()
                segment.put_observation(t + 1, i, observation)
            segment.length = t + 1
            if ended and len(self.envs) == 1:
                return


def random_envs(policy: BasePolicy, n_envs: int, **ends: float) -> list[gym.Env]:
    return [RandomEnv(policy.observation_space, policy.action_space, **ends) for _ in range(n_envs)]


def reference_gradient(policy: ActorCriticPolicy, segment: Segment, recipe: A3CRecipe) -> torch.Tensor:
    """A3C's gradient by autograd, a step at a time, straight from Algorithm S3 (lambda = 1 only)."""
    assert recipe.gae_lambda == 1.0
    finals = {(t, i): observation for t, i, observation in segment.final_observations}

    def value(observation: Any) -> torch.Tensor:
        return policy.predict_values(policy.obs_to_tensor(observation)[0]).reshape(())

    def observation_of(t: int, i: int) -> Any:
        row = segment.observation_row(t)
        return {key: rows[i] for key, rows in row.items()} if isinstance(row, dict) else row[i]

    loss = torch.zeros(())
    for i in range(segment.n_envs):
        with torch.no_grad():
            following = float(value(observation_of(segment.length, i)))
        for t in reversed(range(segment.length)):
            if segment.terminated[t, i]:
                following = 0.0
            elif segment.truncated[t, i]:
                with torch.no_grad():
                    following = float(value(finals[t, i]))
            following = float(segment.rewards[t, i]) + recipe.gamma * following
            observation, _ = policy.obs_to_tensor(observation_of(t, i))
            v = policy.predict_values(observation).reshape(())
            distribution = policy.get_distribution(observation)
            action = torch.as_tensor(segment.actions[t, i])[None]
            if not isinstance(policy.action_space, spaces.Discrete):
                action = action.float().reshape(1, -1)  # a matrix of actions is a vector to its normal distribution
            log_prob = distribution.log_prob(action).reshape(())
            entropy = distribution.entropy().reshape(())
            advantage = following - float(v.detach())
            loss = loss - advantage * log_prob - recipe.ent_coef * entropy + recipe.vf_coef * (following - v) ** 2
    parameters = list(policy.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [torch.zeros(p.numel()) if g is None else g.reshape(-1) for p, g in zip(parameters, gradients, strict=True)]
    )
