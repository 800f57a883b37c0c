"""The gradients of deep DPG by torch, for networks of any kind.

The equations are those of ``agents.dpg.linear_learner``, with the gradient of a network in the place of features.
Increments of several environments are summed. ``agents.dpg.perceptrons`` has the same for plain perceptrons.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray

from agents.common.compatible_features import Differential
from agents.dpg.deep_policy import DeepPolicy

FloatArray = NDArray[np.float64]


class Transitions(NamedTuple):
    """n transitions, without their observations.

    Attributes:
        actions: [n, m] executed, in [-1, 1].
        rewards: [n].
        discounts: [n] gamma': 0 at termination, gamma otherwise and at truncation.
        next_actions: [n, m] a', for the on-policy variant.
    """

    actions: NDArray
    rewards: NDArray
    discounts: NDArray
    next_actions: NDArray | None


class Found(NamedTuple):
    """TD errors and Q(s, mu(s)), [n] each, before the update."""

    deltas: NDArray
    values: NDArray


class Gradients(ABC):
    """Negative increments of all parts as the gradients of a policy's parameters.

    Args:
        policy: whose parameters.
    """

    def __init__(self, policy: DeepPolicy) -> None:
        self.policy = policy

    def stand(self) -> bool:
        """Whether they still belong to the policy's parameters, which can be replaced from outside."""
        return True

    @abstractmethod
    def prepare(self, observations: Any) -> Any:
        """Observations [n, ...] in the form that the other methods take."""

    @abstractmethod
    def means(self, here: Any) -> FloatArray:
        """[n, m] mu(s) in [-1, 1]."""

    @abstractmethod
    def write(self, here: Any, following: Any, transitions: Transitions, natural_gradient: bool) -> Found:
        """Compute the gradients, in place of those that were there."""

    @abstractmethod
    def norm(self) -> float:
        """Euclidean norm of all gradients; NaN or infinite where one of them is."""


class TorchGradients(Gradients):
    """By automatic differentiation.

    Args:
        policy: whose parameters.
    """

    def __init__(self, policy: DeepPolicy) -> None:
        super().__init__(policy)
        self._layout = policy.layout
        # Asking a module for its parameters takes as long as a pass through a small network.
        self._theta, self._w, self._u = list(policy.actor.parameters()), list(policy.w), list(policy.u)
        self._critic = list((policy.value if self._layout.compatible else policy.critic).parameters())
        self._all = [*self._theta, *self._w, *self._critic, *self._u]

    def prepare(self, observations: Any) -> Any:
        """Tensors."""
        return self.policy.obs_to_tensor(observations)[0]

    def means(self, here: Any) -> FloatArray:
        """[n, m] mu(s) in [-1, 1]."""
        with th.no_grad():
            return self.policy.actor(here).cpu().numpy().astype(np.float64)

    def write(self, here: Any, following: Any, transitions: Transitions, natural_gradient: bool) -> Found:
        """Compute the gradients, in place of those that were there."""
        actions, rewards, discounts = (self._tensor(part) for part in transitions[:3])
        if self._layout.compatible:
            delta, values = self._compatible(here, following, actions, rewards, discounts, natural_gradient)
        else:
            chosen = None if transitions.next_actions is None else self._tensor(transitions.next_actions)
            delta, values = self._network(here, following, actions, rewards, discounts, chosen)
        return Found(delta.cpu().numpy(), values.detach().cpu().numpy())

    def norm(self) -> float:
        """Of all gradients."""
        there = [part.grad for part in self._all if part.grad is not None]
        return float(th.nn.utils.get_total_norm(there, foreach=True))

    def _tensor(self, values: NDArray) -> th.Tensor:
        return th.as_tensor(values, dtype=th.float32, device=self.policy.device)

    def _compatible(
        self,
        here: Any,
        following: Any,
        actions: th.Tensor,
        rewards: th.Tensor,
        discounts: th.Tensor,
        natural_gradient: bool,
    ) -> tuple[th.Tensor, th.Tensor]:
        """Of theta, w, v and u."""
        policy, layout = self.policy, self._layout
        actor = Differential(policy.actor_function(here), self._theta)
        deviations = actions - actor.value
        slopes = actor.along(self._w)
        values = policy.value(here).squeeze(1)
        with th.set_grad_enabled(layout.gradient_td):
            # Q(s', mu(s')) is v(s') alone: the compatible features are 0 where a' is mu(s').
            next_values = policy.value(following).squeeze(1)
        errors = rewards + discounts * next_values - ((slopes * deviations).sum(dim=1) + values)
        delta = errors.detach()
        if natural_gradient:
            _set(self._theta, (-len(delta) * part.detach() for part in self._w))
        else:
            _set(self._theta, actor.summed(-slopes))
        _set(self._w, actor.summed(-delta.unsqueeze(1) * deviations))
        loss = -(delta * values).sum()
        if layout.gradient_td:
            expected = self._secondary(here, actor, deviations, delta)
            loss = loss + (discounts * expected * next_values).sum()
        _set_by(loss, self._critic)
        return delta, values

    def _secondary(self, here: Any, actor: Differential, deviations: th.Tensor, delta: th.Tensor) -> th.Tensor:
        """Of u; phi.u [n]."""
        n_actor = len(self._w)
        expected = (actor.along(self._u[:n_actor]) * deviations).sum(dim=1)
        if not self._layout.full_gq:
            _set(self._u, actor.summed(-(delta - expected).unsqueeze(1) * deviations))
            return expected
        state = Differential(self.policy.value_function(here), self._critic)
        expected = expected + state.along(self._u[n_actor:])
        residual = delta - expected
        _set(self._u, (*actor.summed(-residual.unsqueeze(1) * deviations), *state.summed(-residual)))
        return expected

    def _network(
        self,
        here: Any,
        following: Any,
        actions: th.Tensor,
        rewards: th.Tensor,
        discounts: th.Tensor,
        next_actions: th.Tensor | None,
    ) -> tuple[th.Tensor, th.Tensor]:
        """Of theta and of a critic that is a network."""
        policy = self.policy
        # Not q1_forward: that passes no gradient into the features extractor.
        values = policy.critic(here, actions)[0].squeeze(1)
        with th.no_grad():
            chosen = policy.actor(following) if next_actions is None else next_actions
            next_values = policy.critic.q1_forward(following, chosen).squeeze(1)
        delta = (rewards + discounts * next_values - values).detach()
        _set_by(-(delta * values).sum(), self._critic)
        # theta += alpha grad mu grad_a Q(s, a) at a = mu(s)
        mean_values = policy.critic.q1_forward(here, policy.actor(here)).squeeze(1)
        _set_by(-mean_values.sum(), self._theta)
        return delta, mean_values


def _set(parameters: Iterable[th.Tensor], gradients: Iterable[th.Tensor]) -> None:
    """Of parameters that were frozen there is none, so that the optimizer leaves them alone."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.detach() if parameter.requires_grad else None


def _set_by(loss: th.Tensor, parameters: Sequence[th.Tensor]) -> None:
    """The derivative of a loss, 0 for parameters that it does not depend on."""
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    if learned and loss.requires_grad:
        gradients = th.autograd.grad(loss, learned, materialize_grads=True)
    else:
        gradients = tuple(th.zeros_like(parameter) for parameter in learned)
    for parameter in parameters:
        parameter.grad = None
    _set(learned, gradients)
