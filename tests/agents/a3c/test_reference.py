"""A whole run of one worker against two references written here: the same parts in a row, and plain torch."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

import agents
from agents.a3c.recipe import A3CRecipe
from agents.asynchronous.learner import Setting
from agents.asynchronous.segment import Segment
from agents.common.flat import FlatParameters
from agents.common.optimizers import clip_gradient, rmsprop_update

# A larger rate makes learning Pendulum chaotic: differences in the last bit then grow tenfold every ten updates.
SETTINGS: dict[str, Any] = {"n_steps": 5, "gamma": 0.97, "ent_coef": 0.02, "vf_coef": 0.4, "learning_rate": 5e-4}


def linear(remaining: float) -> float:
    return 2e-3 * remaining


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("max_grad_norm", [40.0, 0.5])
def test_one_worker_is_the_same_functions_run_in_sequence_bit_for_bit(env_id: str, max_grad_norm: float) -> None:
    arguments = {**SETTINGS, "learning_rate": linear, "max_grad_norm": max_grad_norm}
    model = agents.A3C("MlpPolicy", env_id, n_workers=1, seed=5, **arguments)
    policy = copy.deepcopy(model.policy)
    (learner_seed,) = np.random.SeedSequence(5).spawn(1)
    model.learn(307)

    flat = FlatParameters(policy.parameters())
    theta, gradient = flat.vector.numpy(), flat.gradient.numpy()
    segment = Segment(policy.observation_space, policy.action_space, 5, 1)
    recipe = A3CRecipe(gamma=0.97, gae_lambda=1.0, ent_coef=0.02, vf_coef=0.4)
    learner = recipe.learner(Setting(policy, flat, theta, gradient, segment, 0, learner_seed, {}))
    g, scratch = np.zeros_like(theta), np.zeros_like(theta)
    env = gym.make(env_id)
    segment.put_observation(0, 0, env.reset(seed=5)[0])
    step = 0
    while step < 307:
        segment.begin()
        learner.begin(step, step / 307)
        for t in range(min(5, 307 - step)):
            action = learner.act(t)[0]
            observation, segment.rewards[t, 0], terminated, truncated, _ = env.step(action)
            segment.length = t + 1
            if terminated or truncated:
                segment.mark_end(t, 0, terminated, observation)
                observation, _ = env.reset()
            segment.put_observation(t + 1, 0, observation)
            if terminated or truncated:
                break
        step += segment.length
        clip_gradient(learner.gradient(), max_grad_norm)
        rmsprop_update(theta, gradient, g, scratch, linear(1.0 - step / 307), 0.99, 0.1)

    np.testing.assert_array_equal(model._flat.vector.numpy(), theta)
    np.testing.assert_array_equal(model.policy.optimizer.arrays["square_avg"][0], g)


class Recorder:
    """What a run saw and did, step by step, as a callback."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.starts: list[int] = []

    def __call__(self, found: dict[str, Any], _: Any) -> bool:
        kept = ("new_obs", "actions", "clipped_actions", "rewards", "dones", "values", "log_probs")
        if found["n_steps"] == 0:
            self.starts.append(len(self.steps))
        step = {name: torch.as_tensor(found[name]).numpy()[0] for name in kept}
        self.steps.append(copy.deepcopy(step) | {"info": found["infos"][0]})
        return True

    def segments(self) -> list[list[dict[str, Any]]]:
        ends = [*self.starts[1:], len(self.steps)]
        return [self.steps[start:end] for start, end in zip(self.starts, ends, strict=True)]


class TorchReference:
    """Algorithm S3 in plain torch: one forward pass a step, with graph, and RMSProp written as its formula."""

    def __init__(self, policy: ActorCriticPolicy, max_grad_norm: float) -> None:
        self.policy = policy
        self.parameters = list(policy.parameters())
        self.g = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.max_grad_norm = max_grad_norm

    def value(self, observation: NDArray[Any]) -> torch.Tensor:
        return self.policy.predict_values(torch.as_tensor(observation)[None]).squeeze()

    def update(self, observations: list[NDArray[Any]], steps: list[dict[str, Any]]) -> None:
        last = steps[-1]
        truncated = last["info"]["TimeLimit.truncated"]
        with torch.no_grad():
            if not last["dones"]:
                future = self.value(last["new_obs"])
            else:
                future = self.value(last["info"]["terminal_observation"]) if truncated else torch.zeros(())
        loss = torch.zeros(())
        for observation, step in zip(reversed(observations), reversed(steps), strict=True):
            future = float(step["rewards"]) + SETTINGS["gamma"] * future
            action = torch.as_tensor(step["actions"])[None]
            values, log_prob, entropy = self.policy.evaluate_actions(torch.as_tensor(observation)[None], action)
            assert entropy is not None
            np.testing.assert_allclose(step["log_probs"], log_prob.item(), rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(step["values"], values[0].detach().numpy(), rtol=1e-3, atol=1e-4)
            advantage = (future - values.squeeze()).detach()
            loss = loss - log_prob.squeeze() * advantage - SETTINGS["ent_coef"] * entropy.squeeze()
            loss = loss + SETTINGS["vf_coef"] * (future - values.squeeze()) ** 2
        gradients = torch.autograd.grad(loss, self.parameters)
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
        scale = min(1.0, self.max_grad_norm / float(norm))
        with torch.no_grad():
            for parameter, g, gradient in zip(self.parameters, self.g, gradients, strict=True):
                g.mul_(0.99).add_(0.01 * (scale * gradient) ** 2)
                parameter.sub_(SETTINGS["learning_rate"] * scale * gradient / torch.sqrt(g + 0.1))


@pytest.mark.parametrize(
    ("env_id", "policy_kwargs"),
    [
        ("CartPole-v1", {}),
        ("CartPole-v1", {"activation_fn": torch.nn.LeakyReLU}),  # TorchLearner
        ("Pendulum-v1", {}),
    ],
    ids=["CartPole", "CartPole in torch", "Pendulum"],
)
def test_a_plain_torch_reference_agrees_after_100_updates(env_id: str, policy_kwargs: dict[str, Any]) -> None:
    # Pendulum's rewards are large: with the default norm every gradient would be clipped alike
    max_grad_norm = 40.0 if env_id == "CartPole-v1" else 400.0
    model = agents.A3C(
        "MlpPolicy",
        env_id,
        n_workers=1,
        seed=2,
        policy_kwargs=policy_kwargs,
        max_grad_norm=max_grad_norm,
        **SETTINGS,
    )
    reference = TorchReference(copy.deepcopy(model.policy), max_grad_norm)
    before = model._flat.vector.clone()
    recorder = Recorder()
    model.learn(520, callback=recorder)
    segments = recorder.segments()
    assert len(segments) >= 100
    assert any(step["dones"] for step in recorder.steps)

    # the reference steps an environment of its own with the recorded actions; nothing of ours tells it what it sees
    env = gym.make(env_id)
    observation, _ = env.reset(seed=2)
    for steps in segments:
        observations = []
        for step in steps:
            observations.append(observation)
            observation, reward, terminated, truncated, _ = env.step(step["clipped_actions"])
            assert np.float32(reward) == step["rewards"]
            assert (terminated or truncated) == step["dones"]
            if step["dones"]:
                np.testing.assert_array_equal(observation, step["info"]["terminal_observation"])
                observation, _ = env.reset()
            np.testing.assert_array_equal(observation, step["new_obs"])
        reference.update(observations, steps)

    ours = model._flat.vector.detach().numpy()
    theirs = torch.cat([parameter.detach().reshape(-1) for parameter in reference.parameters]).numpy()
    moved = np.abs(theirs - before.numpy()).max()
    assert moved > 0.05
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
