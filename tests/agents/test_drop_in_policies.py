"""Networks, features extractors, modes of training and evaluation, refusals, as SB3's tests ask of A2C and DQN."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.dqn.policies import DQNPolicy
from torch import nn

import agents
from agents.a3c.numpy_learner import NumpyLearner
from tests.agents.a3c.learning import make_setting
from tests.agents.drop_in import VALUE_METHODS, both_kinds, each_method, each_value_method, one_and_two_workers, small
from tests.agents.toys import RandomEnv

VECTOR = spaces.Box(-1, 1, (4,), np.float32)


def env(n_envs: int = 1) -> DummyVecEnv:
    return DummyVecEnv([lambda: RandomEnv(VECTOR, spaces.Discrete(2), terminate=0.0, truncate=0.0)] * n_envs)


# architectures


@pytest.mark.parametrize(
    ("net_arch", "widths"),
    [
        ([], ([], [])),
        ([4], ([4], [4])),
        ([4, 4], ([4, 4], [4, 4])),
        ({"vf": [16], "pi": [8]}, ([8], [16])),
        ({"vf": [8, 4], "pi": [8]}, ([8], [8, 4])),
        ({"pi": [8]}, ([8], [])),
        (None, ([64, 64], [64, 64])),
    ],
    ids=str,
)
def test_a3cs_networks_have_the_layers_asked_for(net_arch: Any, widths: tuple[list[int], list[int]]) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, policy_kwargs={"net_arch": net_arch})
    extractor = model.policy.mlp_extractor
    found = [
        [layer.out_features for layer in net if isinstance(layer, nn.Linear)]
        for net in (extractor.policy_net, extractor.value_net)
    ]
    assert tuple(found) == widths
    assert model.learn(30).num_timesteps == 30


@each_value_method
@pytest.mark.parametrize("net_arch", [[], [4], [4, 8]], ids=str)
def test_value_networks_have_the_layers_asked_for(cls: Any, net_arch: list[int]) -> None:
    model = small(cls, policy_kwargs={"net_arch": net_arch})
    found = [layer.out_features for layer in model.q_net.q_net if isinstance(layer, nn.Linear)]
    assert found == [*net_arch, 2]
    assert model.learn(30).num_timesteps == 30


@each_method
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.ELU, nn.GELU, nn.LeakyReLU])
def test_any_activation_is_learned_with(cls: Any, activation: type[nn.Module]) -> None:
    model = small(cls, policy_kwargs={"activation_fn": activation})
    assert any(type(part) is activation for part in model.policy.modules())
    assert model.learn(30).num_timesteps == 30


@one_and_two_workers
def test_other_options_of_the_policy_reach_it(n_workers: int) -> None:
    options = {"ortho_init": False, "log_std_init": -1.5, "share_features_extractor": False}
    model = small(agents.A3C, "Pendulum-v1", n_workers=n_workers, policy_kwargs=options)
    np.testing.assert_allclose(model.policy.log_std.detach().numpy(), -1.5)
    assert model.policy.pi_features_extractor is not model.policy.vf_features_extractor
    assert model.learn(30).num_timesteps == 30


@pytest.mark.parametrize("share", [True, False])
@one_and_two_workers
def test_convolutions_are_shared_or_apart(share: bool, n_workers: int) -> None:
    image_env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True)
    options = {"share_features_extractor": share, "features_extractor_kwargs": {"features_dim": 8}}
    model = small(agents.A3C, image_env, "CnnPolicy", n_workers=n_workers, policy_kwargs=options)
    assert (model.policy.pi_features_extractor is model.policy.vf_features_extractor) == share
    before = model.policy.vf_features_extractor.linear[0].weight.detach().clone()
    model.learn(10)
    assert (model.policy.vf_features_extractor.linear[0].weight != before).any()


@each_value_method
def test_the_convolutions_of_the_target_network_follow_with_the_rest(cls: Any) -> None:
    image_env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True)
    options = {"features_extractor_kwargs": {"features_dim": 8}}
    for interval, same in ((10**6, False), (1, None)):
        model = small(cls, image_env, "CnnPolicy", policy_kwargs=options, target_update_interval=interval)
        own, target = model.q_net.parameters, model.q_net_target.parameters
        assert all(torch.equal(a, b) for a, b in zip(own(), target(), strict=True))
        first = [p.detach().clone() for p in target()]
        model.learn(15)
        moved = [not torch.equal(a, b) for a, b in zip(first, target(), strict=True)]
        assert any(moved) if same is None else not any(moved)
        assert all(not torch.equal(a, b) for a, b in zip(own(), target(), strict=True))


def test_an_actor_whose_value_shares_its_layers_is_learned_in_torch() -> None:
    """A custom policy as in SB3's documentation: one trunk, two heads."""

    class Trunk(nn.Module):
        latent_dim_pi = latent_dim_vf = 6

        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Sequential(nn.Linear(4, 6), nn.Tanh())

        def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.forward_actor(features), self.forward_critic(features)

        def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
            return self.shared(features)

        def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
            return self.shared(features)

    class Shared(ActorCriticPolicy):
        def _build_mlp_extractor(self) -> None:
            self.mlp_extractor = Trunk()  # type: ignore[assignment]

    for n_workers in (1, 2):
        model = small(agents.A3C, policy=Shared, n_workers=n_workers)
        assert not isinstance(model.policy.mlp_extractor, MlpExtractor)
        before = model.policy.mlp_extractor.shared[0].weight.detach().clone()
        assert model.learn(40).num_timesteps == 40
        assert (model.policy.mlp_extractor.shared[0].weight != before).any()


@pytest.mark.parametrize("cls", [agents.A3C, *VALUE_METHODS], ids=lambda cls: cls.__name__)
def test_a_class_in_place_of_an_alias_is_the_same(cls: Any) -> None:
    by_class = small(cls, policy=ActorCriticPolicy if cls is agents.A3C else DQNPolicy).learn(60)
    by_alias = small(cls).learn(60)
    for a, b in zip(by_class.policy.parameters(), by_alias.policy.parameters(), strict=True):
        assert torch.equal(a, b)


# features extractors with batch norm and dropout


class Flighty(BaseFeaturesExtractor):
    """Batch norm and dropout; counts in which mode it was called."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, get_flattened_obs_dim(observation_space))
        self.norm = nn.BatchNorm1d(self.features_dim)
        self.dropout = nn.Dropout(0.5)
        self.calls = {True: 0, False: 0}

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        self.calls[self.training] += 1
        return self.dropout(self.norm(observations.flatten(1)))


both_value_kinds = pytest.mark.parametrize(
    ("cls", "n_workers"), [(agents.AsyncQLearning, 1), (agents.AsyncSarsa, 2), (agents.AsyncNStepQ, 2)]
)
FLIGHTY = {"features_extractor_class": Flighty}


def extractor_of(model: Any) -> Flighty:
    return model.policy.features_extractor if isinstance(model, agents.A3C) else model.q_net.features_extractor


@both_kinds
@one_and_two_workers
@pytest.mark.parametrize("n_envs", [1, 2])
def test_batch_norm_learns_its_scale_and_its_running_statistics(cls: Any, n_workers: int, n_envs: int) -> None:
    model = small(cls, env(n_envs), n_workers=n_workers, policy_kwargs=FLIGHTY)
    norm = extractor_of(model).norm
    bias, mean, count = norm.bias.detach().clone(), norm.running_mean.clone(), int(norm.num_batches_tracked)
    model.learn(60 * n_envs)
    assert (norm.bias != bias).all()
    assert (norm.running_mean != mean).all()
    assert int(norm.num_batches_tracked) == count + 12  # one batch a segment of five steps, by whichever worker


@both_kinds
def test_acting_is_in_evaluation_mode_and_learning_in_training_mode(cls: Any) -> None:
    model = small(cls, env(), policy_kwargs=FLIGHTY).learn(50)
    calls = extractor_of(model).calls
    assert calls[True] == 10  # segments
    assert calls[False] >= 50  # steps
    assert not model.policy.training


@each_value_method
def test_the_target_networks_batch_norm_stands_still_between_copies(cls: Any) -> None:
    model = small(cls, env(), policy_kwargs=FLIGHTY, target_update_interval=10**6)
    norm = model.q_net_target.features_extractor.norm
    bias, mean = norm.bias.detach().clone(), norm.running_mean.clone()
    model.learn(100)
    assert torch.equal(norm.bias, bias)
    assert torch.equal(norm.running_mean, mean)
    assert not torch.equal(model.q_net.features_extractor.norm.running_mean, mean)
    assert model.q_net_target.features_extractor.calls[True] == 0


@both_value_kinds
def test_a_copy_into_the_target_brings_the_running_statistics(cls: Any, n_workers: int) -> None:
    model = small(cls, env(), n_workers=n_workers, policy_kwargs=FLIGHTY, target_update_interval=5)
    before = model.q_net_target.features_extractor.norm.running_mean.clone()
    model.learn(100)
    assert (model.q_net_target.features_extractor.norm.running_mean != before).all()


@each_method
def test_prediction_repeats_and_moves_no_statistics(cls: Any) -> None:
    model = small(cls, env(), policy_kwargs=FLIGHTY).learn(20)
    observations = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    mean = extractor_of(model).norm.running_mean.clone()
    first, _ = model.predict(observations, deterministic=True)
    model.policy.set_training_mode(True)  # as a user may have left it
    for _ in range(5):
        np.testing.assert_array_equal(model.predict(observations, deterministic=True)[0], first)
    assert torch.equal(extractor_of(model).norm.running_mean, mean)


@both_kinds
def test_a_single_step_is_no_batch_to_normalize_by(cls: Any) -> None:
    """Batch norm refuses one row in training mode; a segment may be a single step long."""
    model = small(cls, env(), n_steps=1, policy_kwargs=FLIGHTY)
    assert model.learn(10).num_timesteps == 10


def test_dropout_in_front_of_plain_perceptrons_is_not_skipped_by_the_numpy_path() -> None:
    model = small(agents.A3C, env(), policy_kwargs=FLIGHTY)
    assert NumpyLearner.serve(model._recipe(), make_setting(model.policy, 5, 1)) is None


# networks that are changed between construction and learning


def parameters_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.policy.named_parameters() if "target" not in name}


def head_of(model: Any) -> nn.Linear:
    return model.policy.action_net if isinstance(model, agents.A3C) else model.policy.q_net.q_net[-1]


@both_kinds
@pytest.mark.parametrize(("n_workers", "rule"), [(1, "rmsprop"), (1, "momentum"), (1, "adam"), (2, "momentum")])
def test_frozen_parameters_stand_still_and_the_others_learn(cls: Any, n_workers: int, rule: str) -> None:
    model = small(cls, env(), n_workers=n_workers, shared_optimizer=rule)
    model.learn(20)  # gives them a velocity
    for parameter in head_of(model).parameters():
        parameter.requires_grad = False
    before = parameters_of(model)
    model.learn(20)
    after = parameters_of(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name, p in model.policy.named_parameters() if not p.requires_grad}
    assert len(frozen) == 2
    assert changed
    assert not changed & frozen


def test_frozen_convolutions_and_a_frozen_deviation_stand_still() -> None:
    image = agents.A3C("CnnPolicy", FakeImageEnv(screen_height=40, screen_width=40), n_workers=1)
    image.policy.features_extractor.cnn[0].weight.requires_grad = False
    box = agents.A3C("MlpPolicy", RandomEnv(VECTOR, spaces.Box(-1, 1, (2,), np.float32)), n_workers=1)
    box.policy.log_std.requires_grad = False
    for model, parameter in ((image, image.policy.features_extractor.cnn[0].weight), (box, box.policy.log_std)):
        before = parameter.detach().clone()
        model.learn(20)
        assert torch.equal(parameter, before)


def clone_behavior(model: Any) -> None:
    """A loss of the user's own, with an optimizer that drops gradients instead of clearing them."""
    optimizer = torch.optim.Adam(model.policy.parameters())
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        sum(p.square().sum() for p in model.policy.parameters()).backward()
        optimizer.step()


def set_from_vector(model: Any) -> None:
    model.policy.load_from_vector(0.5 * model.policy.parameters_to_vector())


def convert_and_back(model: Any) -> None:
    model.policy.double().float()


def replace_the_head(model: Any) -> None:
    if isinstance(model, agents.A3C):
        model.policy.action_net = nn.Linear(8, 2)
    else:
        model.policy.q_net.q_net[-1] = nn.Linear(8, 2)


def replace_the_policy(model: Any) -> None:
    other = agents.A2C if isinstance(model, agents.A3C) else agents.DQN
    model.policy = other("MlpPolicy", env(), policy_kwargs={"net_arch": [8]}).policy


@both_kinds
@one_and_two_workers
@pytest.mark.parametrize(
    "change", [clone_behavior, set_from_vector, convert_and_back, replace_the_head, replace_the_policy]
)
def test_learning_begins_with_what_the_policy_is_by_then(cls: Any, n_workers: int, change: Any) -> None:
    model = small(cls, env(), n_workers=n_workers, learning_rate=0.0)
    change(model)
    before = parameters_of(model)
    model.learn(10)
    assert all(torch.equal(before[name], value) for name, value in parameters_of(model).items())
    model.learning_rate = 0.01
    model.learn(40)
    after = parameters_of(model)
    assert any(not torch.equal(before[name], value) for name, value in after.items())
    assert torch.equal(model._flat.vector, torch.cat([p.reshape(-1) for p in after.values()]))


@both_kinds
@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_workers_and_optimizer_may_be_others_in_the_next_learn_call(cls: Any, rule: str) -> None:
    model = small(cls, env(), n_workers=1, shared_optimizer="rmsprop")
    model.learn(10)
    model.shared_optimizer, model.n_workers = rule, 2
    assert model.learn(20).num_timesteps == 20
    assert set(model.policy.optimizer.arrays) == {*model.policy.optimizer.rule.statistics, "optimizer_step"}


def test_statistics_of_kept_layers_go_on_where_another_layer_is_replaced() -> None:
    model = small(agents.A3C, env())
    model.learn(50)
    kept = model.policy.mlp_extractor.policy_net[0].weight
    statistic = model.policy.optimizer.state[kept]["square_avg"].clone()
    assert statistic.any()
    replace_the_head(model)
    model._take_up_changes()
    assert torch.equal(model.policy.optimizer.state[kept]["square_avg"], statistic)
    assert not model.policy.optimizer.state[model.policy.action_net.weight]["square_avg"].any()


# refusals


@each_method
def test_an_optimizer_put_at_the_policy_is_refused_with_those_that_are_shared(cls: Any) -> None:
    model = small(cls)
    model.policy.optimizer = torch.optim.AdamW(model.policy.parameters())
    with pytest.raises(ValueError, match=r"policy.optimizer is AdamW, but .*shared_optimizer='rmsprop'.*'adam'"):
        model.learn(10)


@each_method
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer_class": torch.optim.AdamW},
        {"optimizer_class": torch.optim.RMSprop, "optimizer_kwargs": {"alpha": 0.9}},
        {"optimizer_kwargs": {"weight_decay": 0.1}},
    ],
    ids=["class", "class and arguments", "arguments"],
)
def test_an_optimizer_of_ones_own_is_refused_with_those_that_are_shared(cls: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"policy_kwargs names an optimizer.*shared_optimizer='rmsprop'.*'adam'"):
        small(cls, policy_kwargs=options)


@pytest.mark.parametrize("policy", ["MlpPolicy", "MlpLstmPolicy"])
@pytest.mark.parametrize("env_id", ["Pendulum-v1", "CartPole-v1"])
def test_state_dependent_exploration_is_refused_with_what_has_it(policy: str, env_id: str) -> None:
    with pytest.raises(ValueError, match=r"use_sde=True, but .*use agents\.A2C or agents\.PPO"):
        small(agents.A3C, env_id, policy, policy_kwargs={"use_sde": True})


def test_state_dependent_exploration_that_is_switched_off_is_no_reason_to_refuse() -> None:
    assert small(agents.A3C, "Pendulum-v1", policy_kwargs={"use_sde": False}).learn(10).num_timesteps == 10


def test_a_squashed_output_needs_state_dependent_exploration_as_in_sb3() -> None:
    with pytest.raises(AssertionError, match="squash_output=True is only available when using gSDE"):
        small(agents.A3C, "Pendulum-v1", policy_kwargs={"squash_output": True})


def test_parameters_of_another_type_than_float32_are_refused() -> None:
    class Double(ActorCriticPolicy):
        def _build(self, lr_schedule: Schedule) -> None:
            super()._build(lr_schedule)
            self.double()

    with pytest.raises(ValueError, match=r"parameters of type \{torch\.float64\}.*Convert the policy with \.float"):
        small(agents.A3C, policy=Double)
