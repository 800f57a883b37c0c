"""The two learners against a plain reference: gradients, returns at every kind of episode end, and sampled actions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from agents.a3c.numpy_learner import NumpyLearner
from agents.a3c.paper_cnn import PaperCNN
from agents.a3c.torch_learner import TorchLearner
from tests.agents.a3c.learning import (
    RECIPE,
    Rollout,
    make_policy,
    make_setting,
    random_envs,
    reference_gradient,
)

OBSERVATIONS: list[spaces.Space[Any]] = [
    spaces.Box(-2, 2, (3,), np.float32),
    spaces.Box(-2, 2, (3,), np.float64),
    spaces.Box(-5, 5, (2,), np.int64),
    spaces.Box(0, 9, (2, 3), np.float32),
    spaces.Box(0, 5, (4,), np.uint8),
    spaces.Discrete(5),
]
ACTIONS: list[spaces.Space[Any]] = [
    spaces.Discrete(2),
    spaces.Discrete(6),
    spaces.Box(-1, 1, (1,), np.float32),
    spaces.Box(-2, 0.5, (3,), np.float32),
    spaces.Box(np.array([[-1, -2], [-3, -4]]), np.array([[1, 2], [3, 4]]), dtype=np.float64),
]


def assert_close(ours: Any, expected: Any, scale: float = 1.0) -> None:
    expected = np.asarray(expected)
    # returns less values may cancel: their float32 rounding is absolute
    atol = (2e-5 * float(np.abs(expected).max()) + 1e-4) * scale
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=2e-4, atol=atol)


@settings(max_examples=60)
@given(
    observation_space=st.sampled_from(OBSERVATIONS),
    action_space=st.sampled_from(ACTIONS),
    net_arch=st.sampled_from([None, [], [7], [8, 5], {"pi": [4], "vf": [6, 3]}, {"pi": [], "vf": [5]}]),
    activation=st.sampled_from([nn.Tanh, nn.ReLU, nn.ELU, nn.Sigmoid]),
    n_steps=st.integers(1, 9),
    n_envs=st.sampled_from([1, 3]),
    ends=st.sampled_from([(0.0, 0.0), (0.2, 0.2), (0.6, 0.0), (0.0, 0.6)]),
    seed=st.integers(0, 10**6),
)
def test_numpy_torch_and_reference_gradients_agree(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    net_arch: Any,
    activation: type[nn.Module],
    n_steps: int,
    n_envs: int,
    ends: tuple[float, float],
    seed: int,
) -> None:
    policy = make_policy(observation_space, action_space, seed, net_arch=net_arch, activation_fn=activation)
    setting = make_setting(policy, n_steps, n_envs, seed)
    learner = NumpyLearner.serve(RECIPE, setting)
    assert learner is not None
    rollout = Rollout(learner, setting.segment, random_envs(policy, n_envs, terminate=ends[0], truncate=ends[1]), seed)
    slow = TorchLearner(RECIPE, setting)
    for _ in range(3):  # later segments begin where earlier ones ended, in the same memory
        rollout.fill(n_steps)
        expected = reference_gradient(policy, setting.segment, RECIPE)
        setting.flat.gradient.fill_(torch.nan)
        fast = learner.gradient().copy()
        assert_close(fast, expected)
        replay(slow, setting)
        assert_close(slow.gradient(), expected)
        for name, array in slow.step_locals().items():
            np.testing.assert_allclose(learner.step_locals()[name], array, rtol=1e-4, atol=1e-4, err_msg=name)
        ours, theirs = learner.statistics(), slow.statistics()
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-3, err_msg=name)


def replay(learner: TorchLearner, setting: Any) -> None:
    """Let the learner act on the segment's observations, then put back the actions that were really taken."""
    actions = setting.segment.actions.copy()
    learner.begin(0, 0.0)
    for t in range(setting.segment.length):
        learner.act(t)
    setting.segment.actions[:] = actions
    flat = torch.as_tensor(actions[: setting.segment.length])
    flat = flat.flatten() if isinstance(setting.policy.action_space, spaces.Discrete) else flat.flatten(0, 1).flatten(1)
    observations = torch.as_tensor(setting.segment.flat_observations())
    with torch.no_grad():
        _, log_probs, _ = setting.policy.evaluate_actions(observations, flat.float())
    learner._log_probs[: setting.segment.length] = log_probs.reshape(setting.segment.length, -1).numpy()


@pytest.mark.parametrize("gae_lambda", [0.0, 0.8])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_gae_lambda_reaches_both_learners_alike(gae_lambda: float, n_envs: int) -> None:
    policy = make_policy(OBSERVATIONS[0], ACTIONS[0])
    setting = make_setting(policy, 8, n_envs)
    recipe = replace(RECIPE, gae_lambda=gae_lambda)
    learner = NumpyLearner.serve(recipe, setting)
    assert learner is not None
    rollout = Rollout(learner, setting.segment, random_envs(policy, n_envs))
    slow = TorchLearner(recipe, setting)
    rollout.fill(8)
    fast = learner.gradient().copy()
    assert not np.allclose(fast, reference_gradient(policy, setting.segment, RECIPE), rtol=1e-3)
    replay(slow, setting)
    assert_close(slow.gradient(), fast)


IMAGES = spaces.Box(0, 255, (3, 36, 40), np.uint8)
FLOAT_IMAGES = spaces.Box(0.0, 1.0, (3, 36, 40), np.float32)
IMAGE_POLICIES: dict[str, tuple[spaces.Box, spaces.Space[Any], dict[str, Any]]] = {
    "SB3's network": (IMAGES, spaces.Discrete(3), {}),
    "the paper's": (IMAGES, spaces.Discrete(3), {"features_extractor_class": PaperCNN}),
    "with layers behind": (IMAGES, spaces.Discrete(3), {"net_arch": {"pi": [7], "vf": [5, 6]}}),
    "box actions": (IMAGES, spaces.Box(-1, 1, (2,), np.float32), {"features_extractor_class": PaperCNN}),
    # a row and three columns of pixels are under no kernel of the first layer, others under none of the second
    "a rest at the margin": (
        spaces.Box(0, 255, (3, 41, 47), np.uint8),
        spaces.Discrete(3),
        {"features_extractor_class": PaperCNN},
    ),
    "floats": (
        FLOAT_IMAGES,
        spaces.Discrete(3),
        {"normalize_images": False, "features_extractor_kwargs": {"normalized_image": True}},
    ),
}


@pytest.mark.parametrize("n_envs", [1, 3, 6])  # up to four images pass as blocks
@pytest.mark.parametrize("name", IMAGE_POLICIES)
def test_convolutional_policies_without_autograd_get_autograds_gradient(name: str, n_envs: int) -> None:
    observation_space, action_space, arguments = IMAGE_POLICIES[name]
    policy = make_policy(observation_space, action_space, cls=ActorCriticCnnPolicy, **arguments)
    setting = make_setting(policy, 5, n_envs)
    learner = NumpyLearner.serve(RECIPE, setting)
    assert learner is not None
    rollout = Rollout(learner, setting.segment, random_envs(policy, n_envs, terminate=0.2, truncate=0.2))
    slow = TorchLearner(RECIPE, setting)
    for _ in range(4):
        rollout.fill(5)
        expected = reference_gradient(policy, setting.segment, RECIPE)
        setting.flat.gradient.fill_(torch.nan)
        assert_close(learner.gradient().copy(), expected, scale=10)
        replay(slow, setting)
        for key, array in slow.step_locals().items():
            if key == "values":
                np.testing.assert_allclose(learner.step_locals()[key], array, rtol=1e-3, atol=1e-3)
        with torch.no_grad():  # the next segment acts with other parameters
            setting.flat.vector.mul_(1.01)


@pytest.mark.parametrize(
    "arguments",
    [
        {"share_features_extractor": False},
        {"features_extractor_class": type("Own", (NatureCNN,), {})},
        {"activation_fn": nn.LeakyReLU, "net_arch": [5]},
    ],
    ids=["two extractors", "subclass", "unknown activation"],
)
def test_other_convolutional_policies_are_left_to_autograd(arguments: dict[str, Any]) -> None:
    policy = make_policy(IMAGES, spaces.Discrete(3), cls=ActorCriticCnnPolicy, **arguments)
    setting = make_setting(policy, 3, 2)
    assert NumpyLearner.serve(RECIPE, setting) is None
    learner = TorchLearner(RECIPE, setting)
    Rollout(learner, setting.segment, random_envs(policy, 2)).fill(3)
    assert_close(learner.gradient(), reference_gradient(policy, setting.segment, RECIPE), scale=10)


SPECIAL_POLICIES = {
    "dict": (
        MultiInputActorCriticPolicy,
        spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32), "b": spaces.Discrete(3)}),
        {},
    ),
    "multi-discrete": (ActorCriticPolicy, spaces.MultiDiscrete([3, 2]), {}),
    "multi-binary": (ActorCriticPolicy, spaces.MultiBinary(4), {}),
    "image-without-convolutions": (ActorCriticPolicy, spaces.Box(0, 255, (3, 36, 36), np.uint8), {}),
}


@pytest.mark.parametrize("name", SPECIAL_POLICIES)
@pytest.mark.parametrize("n_envs", [1, 2])
def test_policies_beyond_plain_perceptrons_get_autograds_gradient(name: str, n_envs: int) -> None:
    cls, observation_space, arguments = SPECIAL_POLICIES[name]
    policy = make_policy(observation_space, spaces.Discrete(3), cls=cls, **arguments)
    setting = make_setting(policy, 4, n_envs)
    assert NumpyLearner.serve(RECIPE, setting) is None
    learner = TorchLearner(RECIPE, setting)
    rollout = Rollout(learner, setting.segment, random_envs(policy, n_envs, terminate=0.2, truncate=0.3))
    for _ in range(3):
        rollout.fill(4)
        assert_close(learner.gradient(), reference_gradient(policy, setting.segment, RECIPE), scale=10)


@pytest.mark.parametrize("action_space", [spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(3)])
def test_several_discrete_actions_at_once_get_autograds_gradient(action_space: spaces.Space[Any]) -> None:
    policy = make_policy(OBSERVATIONS[0], action_space)
    setting = make_setting(policy, 5, 2)
    assert NumpyLearner.serve(RECIPE, setting) is None
    learner = TorchLearner(RECIPE, setting)
    Rollout(learner, setting.segment, random_envs(policy, 2)).fill(5)
    assert_close(learner.gradient(), reference_gradient(policy, setting.segment, RECIPE))


class OwnPolicy(ActorCriticPolicy):
    """A subclass may act in any way."""


@pytest.mark.parametrize(
    "policy",
    [
        make_policy(OBSERVATIONS[0], ACTIONS[0], cls=OwnPolicy),
        make_policy(OBSERVATIONS[0], ACTIONS[2], use_sde=True),
        make_policy(OBSERVATIONS[0], ACTIONS[0], activation_fn=nn.LeakyReLU),
    ],
    ids=["subclass", "gsde", "unknown activation"],
)
def test_the_numpy_path_serves_plain_perceptrons_only(policy: ActorCriticPolicy) -> None:
    assert NumpyLearner.serve(RECIPE, make_setting(policy, 5, 1)) is None


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("learner_class", [NumpyLearner, TorchLearner])
def test_discrete_actions_are_drawn_with_the_policys_probabilities(learner_class: Any, n_envs: int) -> None:
    torch.manual_seed(3)
    policy = make_policy(OBSERVATIONS[0], spaces.Discrete(4))
    with torch.no_grad():
        policy.action_net.bias.copy_(torch.tensor([0.0, 2.0, -1.0, 1.0]))
    n_steps, rounds = 50, 60 // n_envs
    setting = make_setting(policy, n_steps, n_envs, seed=1)
    setting.segment.observations[:] = 0.5
    learner = learner_class.serve(RECIPE, setting) if learner_class is NumpyLearner else TorchLearner(RECIPE, setting)
    counts = np.zeros(4)
    for _ in range(rounds):
        learner.begin(0, 0.0)
        for t in range(n_steps):
            answer = learner.act(t)
            np.testing.assert_array_equal(answer, setting.segment.actions[t])
        counts += np.bincount(setting.segment.actions.reshape(-1), minlength=4)
    probabilities = (
        policy.get_distribution(torch.full((1, 3), 0.5)).distribution.probs.detach().numpy()[0].astype(float)
    )
    assert probabilities.max() > 3 * probabilities.min()
    assert scipy.stats.chisquare(counts, probabilities / probabilities.sum() * counts.sum()).pvalue > 0.01


@pytest.mark.parametrize("learner_class", [NumpyLearner, TorchLearner])
def test_continuous_actions_are_drawn_from_the_policys_normal_and_clipped_for_the_environment(
    learner_class: Any,
) -> None:
    space = spaces.Box(np.array([-1.0, -0.2], np.float32), np.array([1.0, 0.2], np.float32))
    policy = make_policy(OBSERVATIONS[0], space)
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([-1.0, 0.5]))
    setting = make_setting(policy, 1000, 2, seed=1)
    setting.segment.observations[:] = 0.5
    learner = learner_class.serve(RECIPE, setting) if learner_class is NumpyLearner else TorchLearner(RECIPE, setting)
    learner.begin(0, 0.0)
    answers = np.stack([learner.act(t) for t in range(1000)])
    normal = policy.get_distribution(torch.full((1, 3), 0.5)).distribution
    for dimension in range(2):
        mean, std = float(normal.mean[0, dimension].detach()), float(normal.stddev[0, dimension].detach())
        drawn = setting.segment.actions[..., dimension].reshape(-1)
        assert scipy.stats.kstest(drawn, "norm", (mean, std)).pvalue > 0.01
        assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.1
    assert (setting.segment.actions != answers).any()  # the loss sees the unclipped action
    np.testing.assert_array_equal(answers, np.clip(setting.segment.actions, space.low, space.high))


class Stochastic(ActorCriticPolicy):
    """With dropout and batch norm in front, as a custom extractor may have them."""

    def extract_features(self, obs: Any, features_extractor: Any = None) -> Any:
        return self.front(super().extract_features(obs, features_extractor))

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.front = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))


def test_acting_is_in_evaluation_mode_and_the_gradient_in_training_mode() -> None:
    policy = make_policy(OBSERVATIONS[0], ACTIONS[0], cls=Stochastic)
    setting = make_setting(policy, 8, 1)
    learner = TorchLearner(RECIPE, setting)
    modes: list[tuple[str, bool]] = []
    policy.front.register_forward_hook(lambda module, inputs, output: modes.append((phase, module.training)))
    rollout = Rollout(learner, setting.segment, random_envs(policy, 1, terminate=0.0, truncate=0.0))
    phase = "act"
    rollout.fill(8)
    phase = "learn"
    learner.gradient()
    assert {mode for name, mode in modes if name == "act"} == {False}
    # the value of what follows the segment is acting's; the batched pass that is differentiated is learning's
    assert [mode for name, mode in modes if name == "learn"].count(True) >= 1
    assert not policy.training
