"""Action values in NumPy, in torch and by SB3's own network with autograd: the same numbers, the same gradient."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.dqn.policies import CnnPolicy, DQNPolicy, MultiInputPolicy
from torch import nn

from agents.async_q.learner import ValueLearner
from agents.async_q.networks import NumpyActionValues, TorchActionValues, action_values
from agents.asynchronous.learner import Setting
from tests.agents.async_q.valuing import (
    METHODS,
    make_policy,
    make_recipe,
    make_setting,
    observation_of,
    rollout_of,
    value_of,
)

OBSERVATIONS: list[spaces.Space[Any]] = [
    spaces.Box(-2, 2, (3,), np.float32),
    spaces.Box(-2, 2, (3,), np.float64),
    spaces.Box(-5, 5, (2,), np.int64),
    spaces.Box(0, 9, (2, 3), np.float32),
    spaces.Box(0, 255, (4,), np.uint8),
    spaces.Discrete(5),
]


def reference_gradient(setting: Setting, targets: np.ndarray) -> np.ndarray:
    """d/dtheta sum (y - Q(s, a))^2, a step at a time."""
    policy, segment = setting.policy, setting.segment
    loss = torch.zeros(())
    for t in range(segment.length):
        for i in range(segment.n_envs):
            q = value_of(policy, observation_of(segment, t, i))[int(segment.actions[t, i])]
            loss = loss + (float(targets[t, i]) - q) ** 2
    gradients = torch.autograd.grad(loss, list(policy.q_net.parameters()))
    return torch.cat([g.reshape(-1) for g in gradients]).numpy()


def assert_close(ours: Any, expected: Any) -> None:
    largest = max(float(np.abs(expected).max()), 1e-3)
    np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=2e-5 * largest)


def assert_values_close(ours: Any, expected: Any) -> None:
    """To float32 rounding of the largest value: sums of large terms that cancel keep the terms' absolute error."""
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5 * scale)


@settings(max_examples=30)
@given(
    space=st.sampled_from(OBSERVATIONS),
    n_actions=st.integers(1, 5),
    net_arch=st.sampled_from([[], [7], [8, 5]]),
    activation=st.sampled_from([nn.Tanh, nn.ReLU, nn.ELU, nn.Sigmoid]),
    n_steps=st.integers(1, 9),
    n_envs=st.sampled_from([1, 3]),
    seed=st.integers(0, 10**6),
)
def test_numpy_torch_and_autograd_agree(
    space: spaces.Space[Any],
    n_actions: int,
    net_arch: list[int],
    activation: type[nn.Module],
    n_steps: int,
    n_envs: int,
    seed: int,
) -> None:
    policy = make_policy(space, n_actions, seed, net_arch=net_arch, activation_fn=activation)
    setting = make_setting(policy, n_steps, n_envs, seed=seed)
    learner = ValueLearner(make_recipe(), setting)
    fast = learner._values
    assert isinstance(fast, NumpyActionValues)
    slow = TorchActionValues(setting)
    rollout = rollout_of(learner, setting, seed, terminate=0.2, truncate=0.2)
    segment = setting.segment
    for _ in range(3):  # later segments begin where earlier ones ended, in the same memory
        rollout.fill(n_steps)
        n = segment.length
        assert_values_close(fast.target_of_next_rows(), slow.target_of_next_rows())
        row = np.stack([value_of(policy, observation_of(segment, n, i)).detach() for i in range(n_envs)])
        assert_values_close(fast.of_row(n), row)
        assert_values_close(slow.of_row(n), row)
        others = np.stack([space.sample() for _ in range(4)])
        target = np.stack([value_of(policy, other, target=True).detach() for other in others])
        assert_values_close(fast.target_of(others), target)
        assert_values_close(fast.of(others), slow.of(others))
        targets = np.random.default_rng(seed).normal(size=(n, n_envs)).astype(np.float32)
        expected = reference_gradient(setting, targets)
        actions = segment.actions[:n].reshape(-1)
        setting.flat.gradient.fill_(torch.nan)
        gradient, chosen = fast.gradient(actions, targets.reshape(-1))
        assert_close(gradient.copy(), expected)
        slow_gradient, slow_chosen = slow.gradient(actions, targets.reshape(-1))
        assert_close(slow_gradient, expected)
        assert_values_close(chosen, slow_chosen)


OTHERS: dict[str, tuple[type[DQNPolicy], spaces.Space[Any], dict[str, Any]]] = {
    "image": (
        CnnPolicy,
        spaces.Box(0, 255, (1, 36, 36), np.uint8),
        {"features_extractor_kwargs": {"features_dim": 8}},
    ),
    "dict": (
        MultiInputPolicy,
        spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32), "b": spaces.Discrete(3)}),
        {},
    ),
    "multi-binary": (DQNPolicy, spaces.MultiBinary(4), {}),
    "image without convolutions": (DQNPolicy, spaces.Box(0, 255, (1, 36, 36), np.uint8), {"net_arch": [4]}),
    "unknown activation": (DQNPolicy, spaces.Discrete(3), {"activation_fn": nn.LeakyReLU}),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_networks_beyond_plain_perceptrons_get_autograds_gradient(name: str, n_envs: int) -> None:
    cls, space, arguments = OTHERS[name]
    setting = make_setting(make_policy(space, cls=cls, **arguments), 4, n_envs)
    learner = ValueLearner(make_recipe(), setting)
    assert isinstance(learner._values, TorchActionValues)
    rollout = rollout_of(learner, setting, terminate=0.2, truncate=0.3)
    for _ in range(2):
        rollout.fill(4)
        targets = learner._targets()
        assert_close(learner.gradient(), reference_gradient(setting, targets.astype(np.float32)))


class OwnPolicy(DQNPolicy):
    """A subclass may value in any way."""


def test_the_numpy_path_serves_plain_perceptrons_only() -> None:
    assert isinstance(action_values(make_setting(make_policy(OBSERVATIONS[0]), 5, 1)), NumpyActionValues)
    own = make_setting(make_policy(OBSERVATIONS[0], cls=OwnPolicy), 5, 1)
    assert isinstance(action_values(own), TorchActionValues)


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_the_squared_error_with_its_factor_2_and_without_hubers_clipping(method: Any) -> None:
    """One state, one action, Q = bias: d(y - Q)^2/dQ = 2 (Q - y), also where y is 1000 away."""
    policy = make_policy(spaces.Discrete(1), n_actions=1, net_arch=[])
    with torch.no_grad():
        for network in (policy.q_net, policy.q_net_target):
            for parameter in network.parameters():
                parameter.zero_()
        policy.q_net.q_net[0].bias.fill_(3.0)
    setting = make_setting(policy, 1, 1)
    learner = ValueLearner(make_recipe(method), setting)
    rollout_of(learner, setting, terminate=0.0, truncate=0.0).fill(1)
    setting.segment.rewards[0] = 1003.0
    gradient = learner.gradient()
    np.testing.assert_allclose(gradient, [-2000.0, -2000.0])  # by the weight of the one-hot input, and by the bias
    assert learner.statistics()["loss"] == pytest.approx(1e6)


def test_gradients_are_sums_over_steps_not_means() -> None:
    policy = make_policy(spaces.Discrete(1), n_actions=1, net_arch=[])
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    gradients = []
    for n_steps in (1, 4):
        setting = make_setting(policy, n_steps, 2)
        learner = ValueLearner(make_recipe("one-step Q"), setting)
        rollout_of(learner, setting, terminate=0.0, truncate=0.0).fill(n_steps)
        setting.segment.rewards[:] = 1.0
        gradients.append(float(learner.gradient()[-1]))
    assert gradients == [-4.0, -16.0]
