"""The NumPy update of the deep agent against torch's: the same losses and gradients, the same memory."""

import copy
import pickle

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from agents.off_pac import OffPAC
from agents.off_pac.perceptrons import perceptrons_of
from agents.off_pac.replayed import _draw, losses
from tests.agents.off_pac.toys import Reach, SmallProcess


def deep(observe="vector", **arguments):
    arguments = {"policy_kwargs": {"net_arch": [16, 8]}, "batch_size": 24, "learning_starts": 20, **arguments}
    return OffPAC("MlpPolicy", SmallProcess(observe), device="cpu", seed=0, **arguments)


def by_torch(model, batch):
    """Losses and the gradient as one vector."""
    policy = model.policy
    parameters = [parameter for group in policy.optimizer.param_groups for parameter in group["params"]]
    actor, critic, entropy = losses(model, batch)
    gradients = th.autograd.grad(actor + critic, parameters)
    return (actor.item(), critic.item(), entropy.item()), np.concatenate([g.numpy().ravel() for g in gradients])


def by_numpy(model, batch):
    networks = perceptrons_of(model.policy, len(batch.rewards))
    found = networks.write_gradient(model, batch)
    parameters = [parameter for group in model.policy.optimizer.param_groups for parameter in group["params"]]
    return found, np.concatenate([parameter.grad.numpy().ravel() for parameter in parameters])


@pytest.mark.parametrize("critic", ["retrace", "vtrace"])
@pytest.mark.parametrize("trace_decay", [0.0, 0.9])
@pytest.mark.parametrize("interval", [0, 10])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_losses_and_gradients_are_those_of_autograd(critic, trace_decay, interval, activation):
    model = deep(
        critic=critic,
        trace_decay=trace_decay,
        target_update_interval=interval,
        behavior_policy=0.4,
        learning_rate=0.01,
        critic_learning_rate=0.01,
        rho_bar=0.8,
        policy_kwargs={"net_arch": [16, 8], "activation_fn": activation},
    )
    model.learn(200)
    batch = _draw(model, 24)
    if trace_decay:
        assert 0.0 < batch.mask.sum() < len(batch.mask)
    (expected, by_autograd), (found, by_hand) = by_torch(model, batch), by_numpy(model, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(by_hand, by_autograd, rtol=1e-3, atol=2e-6)
    assert np.abs(by_hand).max() > 1e-3


@pytest.mark.parametrize("critic", ["retrace", "vtrace"])
def test_a_target_network_far_from_the_critic_gives_the_same_losses_and_gradients(critic):
    model = deep(critic=critic, trace_decay=0.9, behavior_policy=0.4, rho_bar=0.8)
    model.learn(100)
    with th.no_grad():
        for parameter in model.policy.critic_target.parameters():
            parameter.mul_(-2.0).add_(0.7)
    batch = _draw(model, 24)
    (expected, by_autograd), (found, by_hand) = by_torch(model, batch), by_numpy(model, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(by_hand, by_autograd, rtol=1e-3, atol=2e-6)


def test_actions_without_a_known_probability_go_without_correction():
    model = deep()
    model.learn(60)
    batch = _draw(model, 24)
    taken = batch.actions[:, :1].long()
    unknown = th.full_like(batch.actions[:, 1:], th.nan)
    batch.actions[:, 1:] = unknown.scatter(1, taken, batch.actions[:, 1:].gather(1, taken))
    (expected, by_autograd), (found, by_hand) = by_torch(model, batch), by_numpy(model, batch)
    assert np.isfinite(by_hand).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(by_hand, by_autograd, rtol=1e-3, atol=2e-6)


def test_clipping_is_that_of_torch():
    model = deep()
    model.learn(60)
    batch = _draw(model, 24)
    _, gradient = by_numpy(model, batch)
    networks = perceptrons_of(model.policy, 24)
    assert networks.clip(0.01) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    parameters = [parameter for group in model.policy.optimizer.param_groups for parameter in group["params"]]
    clipped = np.concatenate([parameter.grad.numpy().ravel() for parameter in parameters])
    np.testing.assert_allclose(clipped, gradient * 0.01 / (np.linalg.norm(gradient) + 1e-6), rtol=1e-4)
    assert networks.clip(10.0) == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_array_equal(parameters[0].grad.numpy().ravel(), clipped[: parameters[0].numel()])


def test_it_acts_with_the_probabilities_of_the_policy():
    model = deep(behavior_policy="target")
    observations = np.random.default_rng(0).random((5, 3))
    with th.no_grad():
        expected = model.policy.log_probabilities(model.policy.obs_to_tensor(observations)[0]).exp()
    np.testing.assert_allclose(perceptrons_of(model.policy, 1).probabilities(observations), expected, rtol=1e-5)


def test_learning_does_not_depend_on_which_of_the_two_computes(monkeypatch):
    def learned():
        model = deep(trace_decay=0.9, behavior_policy=0.3, learning_rate=0.003)
        model.learn(300)
        return model.policy.parameters_to_vector()

    fast = learned()
    monkeypatch.setattr("agents.off_pac.replayed.perceptrons_of", lambda policy, rows: None)
    np.testing.assert_allclose(learned(), fast, atol=2e-3)


def test_replaced_parameters_and_dropped_gradients_are_noticed():
    model = deep()
    model.learn(60)
    batch = _draw(model, 24)
    for disturb in (
        lambda policy: policy.optimizer.zero_grad(),
        lambda policy: policy.load_from_vector(policy.parameters_to_vector() * 0.5),
    ):
        disturb(model.policy)
        (_, by_autograd), (_, by_hand) = by_torch(model, batch), by_numpy(model, batch)
        np.testing.assert_allclose(by_hand, by_autograd, rtol=1e-3, atol=2e-6)


def test_copies_of_a_policy_learn_with_their_own_networks():
    model = deep()
    model.learn(60)
    copied = copy.deepcopy(model.policy)
    pickle.dumps(model.policy.state_dict())
    before = copied.parameters_to_vector()
    model.learn(60)
    np.testing.assert_array_equal(copied.parameters_to_vector(), before)
    assert perceptrons_of(copied, 4) is not perceptrons_of(model.policy, 4)


class Doubled(FlattenExtractor):
    def forward(self, observations):
        return 2.0 * super().forward(observations)


@pytest.mark.parametrize(
    "make",
    [
        lambda: deep("index"),
        lambda: OffPAC("MlpPolicy", Reach(), device="cpu"),
        lambda: deep(policy_kwargs={"features_extractor_class": Doubled}),
        lambda: deep(policy_kwargs={"activation_fn": nn.Softplus}),
    ],
)
def test_everything_else_is_left_to_torch(make):
    model = make()
    assert perceptrons_of(model.policy, 4) is None
    model.learn(150)


def test_normalized_observations_are_what_it_learns_from():
    model = OffPAC(
        "MlpPolicy",
        VecNormalize(DummyVecEnv([lambda: SmallProcess("vector")])),
        device="cpu",
        seed=0,
        behavior_policy="target",
    )
    model.learn(150)
    batch = _draw(model, 24)
    (_, by_autograd), (_, by_hand) = by_torch(model, batch), by_numpy(model, batch)
    np.testing.assert_allclose(by_hand, by_autograd, rtol=1e-3, atol=2e-6)
