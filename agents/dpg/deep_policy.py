"""The deep policies of DPG: networks for mu and for the critic, and the compatible critic's weights.

Nothing is shared between actor and critic, so that a step size of 0 leaves its part as it is. mu ends in tanh, as SB3's
deterministic actors do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, cast

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel, BasePolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    create_mlp,
    get_actor_critic_arch,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.td3.policies import Actor
from torch import nn
from torch.func import functional_call

from agents.dpg.layout import Layout

T = TypeVar("T")

DEFAULT_NET_ARCH = (64, 64)
"""DQN's and Off-PAC's; with one transition a step, a larger network would not learn sooner."""


class StateValue(BaseModel):
    """v(s).

    Args:
        observation_space, action_space, features_extractor, features_dim, activation_fn, normalize_images: as in SB3.
        net_arch: widths of the hidden layers.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        activation_fn: type[nn.Module],
        normalize_images: bool,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.net = nn.Sequential(*create_mlp(features_dim, 1, net_arch, activation_fn))

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        """[n, 1] values of observations [n, ...]."""
        assert self.features_extractor is not None
        return self.net(self.extract_features(obs, self.features_extractor))


class DeepPolicy(BasePolicy):
    """mu and its critic as networks.

    A compatible critic is Q(s, a) = (a - mu(s))^T grad_theta mu(s)^T w + v(s), with one number in ``w`` for each of
    mu's parameters and a network v of its own; else the critic is a network of state and action. Networks are used in
    evaluation mode: the batch statistics of a single transition mean nothing.

    Args:
        observation_space, action_space, lr_schedule, activation_fn, features_extractor_class,
            features_extractor_kwargs, normalize_images, optimizer_class, optimizer_kwargs: as TD3's policies'.
        net_arch: as TD3's; a list for both, or a dictionary with the keys "pi" and "qf", the latter for v or Q.
        variant, full_gq: the algorithm passes its own.
    """

    default_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor
    w: nn.ParameterList
    u: nn.ParameterList

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        variant: str = "copdac-q",
        full_gq: bool = False,
    ) -> None:
        if optimizer_kwargs is None and issubclass(optimizer_class, th.optim.Adam):
            # One call for all parameters: on small networks the usual loop over them takes as long as the gradients.
            optimizer_kwargs = {"fused": True}
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class or self.default_features_extractor,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            squash_output=True,
            normalize_images=normalize_images,
        )
        self.layout = Layout(int(th.tensor(action_space.shape).prod()), variant, full_gq)
        self.net_arch = list(DEFAULT_NET_ARCH) if net_arch is None else net_arch
        self.activation_fn = activation_fn
        actor_arch, critic_arch = get_actor_critic_arch(self.net_arch)
        self.actor = Actor(net_arch=actor_arch, **self._network_arguments())
        if self.layout.compatible:
            self.value = StateValue(net_arch=critic_arch, **self._network_arguments())
        else:
            self.critic = ContinuousCritic(
                net_arch=critic_arch, n_critics=1, share_features_extractor=False, **self._network_arguments()
            )
        self._actor_names = [name for name, _ in self.actor.named_parameters()]
        self._value_names = [name for name, _ in self.value.named_parameters()] if self.layout.compatible else []
        self._make_linear_weights()
        self.optimizer = self.optimizer_class(
            self._parameter_groups(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )
        self.train(False)

    def _network_arguments(self) -> dict[str, Any]:
        extractor = self.make_features_extractor()
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "features_extractor": extractor,
            "features_dim": extractor.features_dim,
            "activation_fn": self.activation_fn,
            "normalize_images": self.normalize_images,
        }

    def _make_linear_weights(self) -> None:
        """w, and for gradient TD u, of the shapes of mu's parameters (full GQ: and of v's), all 0."""
        shapes = list(self.actor.parameters()) if self.layout.compatible else []
        self.w = nn.ParameterList([th.zeros_like(part) for part in shapes])
        if not self.layout.gradient_td:
            shapes = []
        elif self.layout.full_gq:
            shapes += self.value.parameters()
        self.u = nn.ParameterList([th.zeros_like(part) for part in shapes])

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """In the order of ``DPG.learning_rates``: actor, w (or Q), v, u; those without parameters left out."""
        compatible = self.layout.compatible
        critic = self.w if compatible else self.critic.parameters()
        value = self.value.parameters() if compatible else ()
        return [{"params": list(group)} for group in self.present((self.actor.parameters(), critic, value, self.u))]

    def present(self, of_parts: Sequence[T]) -> list[T]:
        """What belongs to the parts that this critic has.

        Args:
            of_parts: for actor, w (or Q), v and u.
        """
        has = (True, True, self.layout.compatible, self.layout.gradient_td)
        return [part for part, there in zip(of_parts, has, strict=True) if there]

    def set_training_mode(self, mode: bool) -> None:
        """Stay in evaluation mode."""

    def actor_function(self, obs: PyTorchObs) -> Any:
        """theta -> mu(s) in [-1, 1] for fixed observations, for ``torch.func``.

        Args:
            obs: [n, ...].
        """
        names = self._actor_names

        def means(*theta: th.Tensor) -> th.Tensor:
            return functional_call(self.actor, dict(zip(names, theta, strict=True)), (obs,))

        return means

    def value_function(self, obs: PyTorchObs) -> Any:
        """The same for v: its parameters -> [n] values."""
        names = self._value_names

        def values(*parameters: th.Tensor) -> th.Tensor:
            output = functional_call(self.value, dict(zip(names, parameters, strict=True)), (obs,))
            return output.squeeze(1)

        return values

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """[n, 1] the critic's Q(s, mu(s)) of observations [n, ...]."""
        if self.layout.compatible:
            return self.value(obs)
        return self.critic.q1_forward(cast(th.Tensor, obs), self.actor(obs))

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """[n, m] means in [-1, 1]."""
        return self._predict(obs, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self.actor(observation)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            lr_schedule=self._dummy_schedule,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            features_extractor_class=self.features_extractor_class,
            features_extractor_kwargs=self.features_extractor_kwargs,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
            variant=self.layout.variant,
            full_gq=self.layout.full_gq,
        )
        return data


class MlpPolicy(DeepPolicy):
    """For vectors."""


class CnnPolicy(DeepPolicy):
    """For images: NatureCNN by default."""

    default_features_extractor = NatureCNN


class MultiInputPolicy(DeepPolicy):
    """For Dict observations: CombinedExtractor by default."""

    default_features_extractor = CombinedExtractor
