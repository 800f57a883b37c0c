"""The deep policies of Off-PAC: separate networks for target policy and critic, and a slow copy of the critic.

Nothing is shared between actor and critic, so that a step size of 0 leaves its part as it is.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, cast

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    MlpExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from agents.common.gaussian_policy import LOG_STD_CENTER, LOG_STD_REACH

_MODELESS = {
    CombinedExtractor,
    FlattenExtractor,
    MlpExtractor,
    NatureCNN,
    nn.Conv2d,
    nn.Flatten,
    nn.Linear,
    nn.ModuleDict,
    nn.ReLU,
    nn.Sequential,
    nn.Tanh,
}
"""Exact types of modules that compute the same in training and in evaluation mode."""


class DeepPolicy(ActorCriticPolicy):
    """Softmax or Gaussian target policy and a critic of states or of actions.

    Box actions: independent Gaussians around the network's output, in units of half the action range; the log standard
    deviations are parameters of their own, kept between the limits of ``agents.common.gaussian_policy``.

    Args:
        observation_space, action_space, lr_schedule, net_arch, activation_fn, ortho_init, features_extractor_class,
            features_extractor_kwargs, normalize_images, optimizer_class, optimizer_kwargs: as ActorCriticPolicy's; the
            default network is DQN's.
        critic: "retrace" for action values, "vtrace" for state values; the algorithm passes its own.
    """

    default_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor
    action_center: th.Tensor
    action_reach: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        ortho_init: bool = True,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        critic: str = "retrace",
    ) -> None:
        self.critic_kind = critic
        features_extractor_class = features_extractor_class or self.default_features_extractor
        if optimizer_kwargs is None and issubclass(optimizer_class, th.optim.Adam):
            # One call for all parameters: on small networks the usual loop over them takes as long as the gradients.
            optimizer_kwargs = {"fused": True}
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=net_arch,
            activation_fn=activation_fn,
            ortho_init=ortho_init,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            share_features_extractor=False,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if isinstance(self.action_space, spaces.Box):
            bounds = [
                th.as_tensor(bound.ravel(), dtype=th.float32)
                for bound in (self.action_space.low, self.action_space.high)
            ]
            self.register_buffer("action_center", (bounds[1] + bounds[0]) / 2.0, persistent=False)
            self.register_buffer("action_reach", (bounds[1] - bounds[0]) / 2.0, persistent=False)
        if self.critic_kind == "retrace":
            assert isinstance(self.action_space, spaces.Discrete)
            self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, int(self.action_space.n))
            if self.ortho_init:
                self.init_weights(self.value_net)
        self.critic = nn.Sequential(self.vf_features_extractor, self.mlp_extractor.value_net, self.value_net)
        self.critic_target = copy.deepcopy(self.critic)
        self.critic_target.requires_grad_(False)
        self._modeless = all(type(module) in _MODELESS for module in self.modules() if module is not self)
        critic_parameters = list(self.critic.parameters())
        ids = {id(parameter) for parameter in [*critic_parameters, *self.critic_target.parameters()]}
        actor_parameters = [parameter for parameter in self.parameters() if id(parameter) not in ids]
        self.optimizer = self.optimizer_class(
            [{"params": actor_parameters}, {"params": critic_parameters}],
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Distribution:
        if not isinstance(self.action_dist, DiagGaussianDistribution):
            return super()._get_action_dist_from_latent(latent_pi)
        mean = self.action_center + self.action_reach * self.action_net(latent_pi)
        log_std = LOG_STD_CENTER + LOG_STD_REACH * th.tanh(self.log_std / LOG_STD_REACH) + self.action_reach.log()
        return self.action_dist.proba_distribution(mean, log_std)

    def set_training_mode(self, mode: bool) -> None:
        """Switch batch normalization and dropout; the target critic always stays in evaluation mode."""
        if self._modeless:
            # Nothing in the networks depends on it, and telling every module takes a fifth of an update's time.
            self.training = mode
            return
        super().set_training_mode(mode)
        self.critic_target.train(False)

    def log_probabilities(self, obs: PyTorchObs) -> th.Tensor:
        """[n, n_actions] log pi(.|s) for Discrete actions, without the cost of a distribution object."""
        features = super(ActorCriticPolicy, self).extract_features(obs, self.pi_features_extractor)
        return th.log_softmax(self.action_net(self.mlp_extractor.forward_actor(features)), dim=1)

    def critic_output(self, obs: PyTorchObs, target: bool = False) -> th.Tensor:
        """[n, n_actions] action values or [n, 1] state values.

        Args:
            obs: [n, ...] observations.
            target: of the slow copy.
        """
        network = self.critic_target if target else self.critic
        extractor, rest = cast(BaseFeaturesExtractor, network[0]), network[1:]
        # Named: what the extractor reads has to be preprocessed with the policy's own settings.
        return rest(super(ActorCriticPolicy, self).extract_features(obs, extractor))

    def state_values(self, obs: PyTorchObs, target: bool = False) -> th.Tensor:
        """[n] values under the target policy."""
        output = self.critic_output(obs, target)
        if self.critic_kind == "vtrace":
            return output.squeeze(1)
        return (self.log_probabilities(obs).exp() * output).sum(dim=1)

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """[n, 1] values under the target policy."""
        return self.state_values(obs).unsqueeze(1)

    def forward(self, obs: th.Tensor, deterministic: bool = False) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Actions of the target policy, values [n, 1] and log probabilities [n]."""
        distribution = self.get_distribution(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        log_prob = distribution.log_prob(actions)
        return actions.reshape((-1, *self.action_space.shape)), self.predict_values(obs), log_prob  # type: ignore[misc]

    def evaluate_actions(self, obs: PyTorchObs, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Values [n, 1], log probabilities [n] of the actions and entropies [n]."""
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        for name in ("use_sde", "log_std_init", "squash_output", "full_std", "use_expln"):
            del data[name]
        data["critic"] = self.critic_kind
        return data


class MlpPolicy(DeepPolicy):
    """For vectors."""


class CnnPolicy(DeepPolicy):
    """For images: NatureCNN by default."""

    default_features_extractor = NatureCNN


class MultiInputPolicy(DeepPolicy):
    """For Dict observations: CombinedExtractor by default."""

    default_features_extractor = CombinedExtractor


def entropy(distribution: Distribution) -> th.Tensor:
    """[n] entropies of a categorical or Gaussian distribution."""
    value = distribution.entropy()
    assert value is not None
    return value


__all__ = ["CnnPolicy", "DeepPolicy", "MlpPolicy", "MultiInputPolicy", "entropy"]
