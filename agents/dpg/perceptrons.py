"""The gradients of deep DPG in NumPy, where its networks are plain perceptrons on the CPU.

On one transition torch spends nearly all of its time on bookkeeping. The equations are those of
``agents.dpg.deep_gradients``; the tests hold both to the same increments. The weights w and u have the shapes of mu's
parameters, so that they are perceptrons, too: grad mu^T w is the derivative of mu's network in their direction. The
optimizer stays torch's: what is saved and loaded does not depend on who computed a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.td3.policies import Actor
from torch import nn

from agents.common.mlp import Layer, Perceptron, layers_of
from agents.dpg.deep_gradients import FloatArray, Found, Gradients, Transitions
from agents.dpg.deep_policy import DeepPolicy, MlpPolicy, StateValue

Array = NDArray[np.float32]


class PerceptronGradients(Gradients):
    """By hand; see ``perceptron_gradients``.

    Args:
        policy: whose parameters; they get gradients that are views of one vector.
        n: transitions an update.
    """

    def __init__(self, policy: DeepPolicy, n: int) -> None:
        super().__init__(policy)
        self._n, self._layout = n, policy.layout
        self._parameters = [part for group in policy.optimizer.param_groups for part in group["params"]]
        self._gradients, self._vector = _flat_gradients(self._parameters)
        self._addresses = [part.data_ptr() for part in self._parameters]
        actor = layers_of(list(policy.actor.mu))
        critic = layers_of(list(_critic_network(policy)))
        assert actor is not None
        assert critic is not None
        self._theta = actor
        self._w = _like(actor, list(policy.w))
        u = list(policy.u)
        self._u, self._u_state = _like(actor, u[: 2 * len(actor)]), _like(critic, u[2 * len(actor) :])
        self._actor, self._critic = Perceptron(actor, 1, n), Perceptron(critic, 1, 2 * n)

    def stand(self) -> bool:
        """Whether all parameters learn, and they and their gradients are where they were; callers may change both."""
        return all(
            parameter.grad is gradient and parameter.data_ptr() == address and parameter.requires_grad
            for parameter, gradient, address in zip(self._parameters, self._gradients, self._addresses, strict=True)
        )

    def prepare(self, observations: Any) -> Array:
        """[n, n_inputs] float32."""
        values = np.asarray(observations)
        return np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float32)

    def means(self, here: Array) -> FloatArray:
        """[n, m] mu(s) in [-1, 1]."""
        return self._actor.evaluate(here).astype(np.float64)

    def write(self, here: Array, following: Array, transitions: Transitions, natural_gradient: bool) -> Found:
        """Compute the gradients, in place of those that were there."""
        rewards, discounts = (part.astype(np.float32) for part in transitions[1:3])
        actions = transitions.actions.astype(np.float32)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if self._layout.compatible:
                return self._compatible(here, following, actions, rewards, discounts, natural_gradient)
            return self._network(here, following, actions, rewards, discounts, transitions.next_actions)

    def norm(self) -> float:
        """Of all gradients."""
        with np.errstate(over="ignore", invalid="ignore"):
            return math.sqrt(float(self._vector @ self._vector))

    def _compatible(
        self, here: Array, following: Array, actions: Array, rewards: Array, discounts: Array, natural_gradient: bool
    ) -> Found:
        n, actor, critic = self._n, self._actor, self._critic
        deviations = actions - actor.forward(here)
        slopes = actor.along(here, self._w)
        both = np.concatenate([here, following])
        outputs = critic.forward(both)[:, 0]
        # Q(s', mu(s')) is v(s') alone: the compatible features are 0 where a' is mu(s').
        values, next_values = outputs[:n].copy(), outputs[n:]
        delta = rewards + discounts * next_values - ((slopes * deviations).sum(axis=1) + values)
        by_action = -delta[:, None] * deviations
        if natural_gradient:
            for layer, weights in zip(self._theta, self._w, strict=True):
                np.multiply(weights.weight, -n, out=layer.weight_gradient)
                np.multiply(weights.bias, -n, out=layer.bias_gradient)
        else:
            actor.backward(here, -slopes)
        actor.backward(here, by_action, self._w)
        if not self._layout.gradient_td:
            critic.backward(here, -delta[:, None])
            return Found(delta, values)
        expected = (actor.along(here, self._u) * deviations).sum(axis=1)
        if self._layout.full_gq:
            expected += critic.along(here, self._u_state)[:, 0]
            critic.backward(here, (expected - delta)[:, None], self._u_state)
        actor.backward(here, (expected - delta)[:, None] * deviations, self._u)
        critic.backward(both, np.concatenate([-delta, discounts * expected])[:, None])
        return Found(delta, values)

    def _network(
        self,
        here: Array,
        following: Array,
        actions: Array,
        rewards: Array,
        discounts: Array,
        next_actions: NDArray | None,
    ) -> Found:
        n, actor, critic = self._n, self._actor, self._critic
        chosen = actor.evaluate(following) if next_actions is None else next_actions.astype(np.float32)
        next_values = critic.evaluate(np.concatenate([following, chosen], axis=1))[:, 0]
        # theta += alpha grad mu grad_a Q(s, a) at a = mu(s); what this writes for Q is overwritten below
        at_mean = np.concatenate([here, actor.forward(here)], axis=1)
        mean_values = critic.forward(at_mean)[:, 0].copy()
        below = critic.backward(at_mean, np.full((n, 1), -1.0, dtype=np.float32))
        actor.backward(here, np.ascontiguousarray(critic.by_inputs(below)[:, here.shape[1] :]))
        at_action = np.concatenate([here, actions], axis=1)
        delta = rewards + discounts * next_values - critic.forward(at_action)[:, 0]
        critic.backward(at_action, -delta[:, None])
        return Found(delta, mean_values)


def perceptron_gradients(policy: DeepPolicy, n: int) -> PerceptronGradients | None:
    """Gradients in NumPy for updates of n transitions, or None where torch has to compute them.

    Args:
        policy: any deep policy.
        n: number of environments.
    """
    return PerceptronGradients(policy, n) if _plain(policy) and _all_learned(policy) else None


def _plain(policy: DeepPolicy) -> bool:
    """Whether all networks are perceptrons of known activations on a vector, on the CPU."""
    space = policy.observation_space
    if type(policy) is not MlpPolicy or policy.device.type != "cpu":
        return False
    if not isinstance(space, spaces.Box) or is_image_space(space):
        return False
    critic = policy.value if policy.layout.compatible else policy.critic
    if type(policy.actor) is not Actor or type(critic) not in (StateValue, ContinuousCritic):
        return False
    if any(type(part.features_extractor) is not FlattenExtractor for part in (policy.actor, critic)):
        return False
    if any(parameter.dtype != th.float32 for parameter in policy.parameters()):
        return False
    return _known(policy.actor.mu) and _known(_critic_network(policy))


def _critic_network(policy: DeepPolicy) -> nn.Sequential:
    return policy.value.net if policy.layout.compatible else cast(nn.Sequential, policy.critic.q_networks[0])


def _known(network: nn.Sequential) -> bool:
    for parameter in network.parameters():
        if parameter.grad is None:
            parameter.grad = th.zeros_like(parameter)
    return layers_of(list(network)) is not None


def _all_learned(policy: DeepPolicy) -> bool:
    """Whether no parameter is frozen."""
    return all(part.requires_grad for group in policy.optimizer.param_groups for part in group["params"])


def _flat_gradients(parameters: Sequence[nn.Parameter]) -> tuple[list[th.Tensor], Array]:
    """Views of one new vector as the parameters' gradients, and that vector."""
    vector = np.zeros(sum(part.numel() for part in parameters), dtype=np.float32)
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.grad = th.from_numpy(vector[start:stop]).view(parameter.shape)
        start = stop
    return [cast(th.Tensor, parameter.grad) for parameter in parameters], vector


def _like(layers: Sequence[Layer], weights: Sequence[nn.Parameter]) -> list[Layer]:
    """The same perceptron with other weights and gradients, in the order weight, bias, weight ...; [] without any."""
    arrays = [part.detach().numpy() for part in weights]
    gradients = [cast(th.Tensor, part.grad).numpy() for part in weights]
    return [
        replace(layer, weight=weight, bias=bias, weight_gradient=by_weight, bias_gradient=by_bias)
        for layer, weight, bias, by_weight, by_bias in zip(
            layers, arrays[::2], arrays[1::2], gradients[::2], gradients[1::2], strict=False
        )
    ]
