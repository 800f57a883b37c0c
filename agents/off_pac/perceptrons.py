"""The deep update for plain perceptrons and Discrete actions, in NumPy, on the memory of the torch policy.

For a batch of 32 rows torch spends more time on bookkeeping than on two small networks: an update takes half as long
here. The losses are those of ``agents.off_pac.replayed``; the tests hold both to the same gradients. The optimizer
stays torch's, so what is saved and loaded does not depend on which of the two computed the gradient.

With W(a) the weight of log pi(a|s) in the actor's objective, H the entropy and z the logits, the actor's gradient is

    d loss / dz(a) = -(W(a) - pi(a|s) sum_b W(b)) + c pi(a|s) (log pi(a|s) + H)

with c the weight of the entropy; the critic's is the error, clipped to [-1, 1] (the Huber loss).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import nn

from agents.common.mlp import Layer, Perceptron, layers_of
from agents.common.retrace import retrace_targets
from agents.common.vtrace import vtrace_targets
from agents.off_pac.deep_policy import DeepPolicy, MlpPolicy
from agents.off_pac.replay_buffers import Segments

if TYPE_CHECKING:
    from agents.off_pac.off_pac import OffPAC

Array = NDArray[np.float32]


class Losses(NamedTuple):
    """What one batch gave."""

    actor: float
    critic: float
    entropy: float


class Perceptrons:
    """Actor, critic and target critic of one policy as NumPy views.

    Args:
        parameters: what the optimizer changes; their gradients are written here.
        actor, critic: layers with gradients.
        target: layers of the slow critic.
        rows: the most rows in a batch.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        actor: Sequence[Layer],
        critic: Sequence[Layer],
        target: Sequence[Layer],
        rows: int,
    ) -> None:
        self.rows = rows
        self._parameters = list(parameters)
        self._gradients = [parameter.grad for parameter in parameters]
        self._addresses = [parameter.data_ptr() for parameter in parameters]
        self._flat_gradients = [cast(th.Tensor, gradient).numpy().reshape(-1) for gradient in self._gradients]
        self._actor = Perceptron(actor, 1, rows)
        self._critic = Perceptron(critic, 1, rows)
        self._target = Perceptron(target, 1, 1)

    def stand(self) -> bool:
        """Whether they still are the policy's parameters and gradients (both can be replaced from outside)."""
        return all(
            parameter.grad is gradient and parameter.data_ptr() == address
            for parameter, gradient, address in zip(self._parameters, self._gradients, self._addresses, strict=True)
        )

    def probabilities(self, observations: NDArray) -> NDArray[np.float64]:
        """[n, n_actions] pi(.|s) of observations [n, ...]."""
        return np.exp(_log_softmax(self._actor.evaluate(_rows(observations)))).astype(np.float64)

    def write_gradient(self, model: OffPAC, batch: Segments) -> Losses:
        """Losses of a batch, their gradients in place of what was there."""
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            return self._retrace(model, batch) if model.critic == "retrace" else self._vtrace(model, batch)

    def clip(self, max_norm: float) -> float:
        """Scale the gradients down to a norm of at most ``max_norm``; the norm from before."""
        norm = math.sqrt(sum(float(gradient @ gradient) for gradient in self._flat_gradients))
        if max_norm < norm < math.inf:
            for gradient in self._flat_gradients:
                gradient *= max_norm / (norm + 1e-6)
        return norm

    def _retrace(self, model: OffPAC, batch: Segments) -> Losses:
        x, next_x = _rows(batch.observations), _rows(batch.next_observations)
        actions, log_behavior = _recorded(batch)
        n = np.arange(len(actions))
        log_target, next_log_target = _log_softmax(self._actor.forward(x)), _log_softmax(self._actor.evaluate(next_x))
        q_values = self._critic.forward(x)
        following = (self._target if model.target_update_interval > 0 else self._critic).evaluate(next_x)
        pi, taken = np.exp(log_target), q_values[n, actions]
        next_values = (np.exp(next_log_target) * following).sum(axis=1)
        ratios = np.exp(log_target - log_behavior)
        rho = ratios[n, actions]
        model.ratio_statistics.extend(rho)
        if batch.n_steps == 1:
            targets: NDArray = batch.rewards.numpy() + model.gamma * (1.0 - batch.terminated.numpy()) * next_values
        else:
            # Inside a segment the next observation is that of the next step: its values are here already.
            next_taken = following[n, np.roll(actions, -(len(actions) // batch.n_steps))]
            q, v, r, c, terminated, cut = _in_time(
                batch, next_taken, next_values, batch.rewards, rho, batch.terminated, batch.cut
            )
            targets = retrace_targets(q, v, r, c, terminated, cut, model.gamma, model.trace_decay).ravel()
        values = (pi * q_values).sum(axis=1)
        # NaN stands for a probability that a data set does not give; those actions go without correction.
        correction = np.nan_to_num(np.maximum(1.0 - model.rho_bar / ratios, 0.0), nan=0.0)
        weights = correction * pi * (q_values - values[:, None])
        weights[n, actions] += np.minimum(rho, model.rho_bar) * (targets - values)
        return self._finish(model, batch, x, log_target, weights, taken - targets, actions)

    def _vtrace(self, model: OffPAC, batch: Segments) -> Losses:
        x, next_x = _rows(batch.observations), _rows(batch.next_observations)
        actions, log_behavior = _recorded(batch)
        n = np.arange(len(actions))
        log_target = _log_softmax(self._actor.forward(x))
        values = self._critic.forward(x)[:, 0]
        following = (self._target if model.target_update_interval > 0 else self._critic).evaluate(next_x)[:, 0]
        rho = np.exp(log_target[n, actions] - log_behavior[n, actions])
        model.ratio_statistics.extend(rho)
        v, v_next, r, c, terminated, cut = _in_time(
            batch, values, following, batch.rewards, rho, batch.terminated, batch.cut
        )
        found = vtrace_targets(v, v_next, r, c, terminated, cut, model.gamma, model.trace_decay, model.rho_bar)
        targets, advantages = (part.ravel().astype(np.float32) for part in found)
        weights = np.zeros_like(log_target)
        weights[n, actions] = np.minimum(rho, model.rho_bar) * advantages
        return self._finish(model, batch, x, log_target, weights, values - targets, None)

    def _finish(
        self,
        model: OffPAC,
        batch: Segments,
        x: Array,
        log_target: Array,
        weights: Array,
        errors: Array,
        actions: NDArray[np.intp] | None,
    ) -> Losses:
        """Means over the rows that belong to their segments, and both backward passes."""
        mask = batch.mask.numpy()
        share = mask / mask.sum()
        pi = np.exp(log_target)
        entropies = -(pi * log_target).sum(axis=1)
        by_logits = pi * weights.sum(axis=1, keepdims=True) - weights
        by_logits += model.ent_coef * pi * (log_target + entropies[:, None])
        by_logits *= share[:, None]
        self._actor.backward(x, by_logits.astype(np.float32, copy=False))
        clipped = np.clip(errors, -1.0, 1.0)
        by_values = np.zeros((len(errors), self._critic.outputs.shape[1]), dtype=np.float32)
        by_values[np.arange(len(errors)), 0 if actions is None else actions] = clipped * share
        self._critic.backward(x, by_values)
        entropy = float(entropies @ share)
        objective = float((weights * log_target).sum(axis=1) @ share)
        # |e| - 1/2 beyond 1, e^2 / 2 within
        critic = float((clipped * (errors - 0.5 * clipped)) @ share)
        return Losses(-objective - model.ent_coef * entropy, critic, entropy)


_KNOWN: WeakKeyDictionary[DeepPolicy, Perceptrons] = WeakKeyDictionary()
"""Beside the policies and not in them: views of memory would be copied and saved as arrays of their own."""


def perceptrons_of(policy: DeepPolicy, rows: int) -> Perceptrons | None:
    """The policy's networks for batches of up to ``rows`` rows, or None where torch has to do it."""
    known = _KNOWN.get(policy)
    if known is not None and known.rows >= rows and known.stand():
        return known
    if not _plain(policy):
        return None
    parameters = [parameter for group in policy.optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = th.zeros_like(parameter)
    actor = layers_of([*policy.mlp_extractor.policy_net, policy.action_net])
    critic = layers_of([*policy.mlp_extractor.value_net, policy.value_net])
    slow = [*cast(nn.Sequential, policy.critic_target[1]), policy.critic_target[2]]
    if actor is None or critic is None:
        return None
    linear = [module for module in slow if isinstance(module, nn.Linear)]
    target = [
        dataclasses.replace(layer, weight=module.weight.detach().numpy(), bias=module.bias.detach().numpy())
        for layer, module in zip(critic, linear, strict=True)
    ]
    if 2 * (len(actor) + len(critic)) != len(parameters):
        return None
    _KNOWN[policy] = made = Perceptrons(parameters, actor, critic, target, rows)
    return made


def _plain(policy: DeepPolicy) -> bool:
    """Whether the policy is two perceptrons on a vector, on the CPU, with a softmax."""
    space = policy.observation_space
    return (
        type(policy) is MlpPolicy
        and policy.device.type == "cpu"
        and isinstance(policy.action_space, spaces.Discrete)
        and isinstance(space, spaces.Box)
        and not is_image_space(space)
        and type(policy.pi_features_extractor) is FlattenExtractor
        and type(policy.vf_features_extractor) is FlattenExtractor
        and type(policy.mlp_extractor) is MlpExtractor
        and all(parameter.dtype == th.float32 for parameter in policy.parameters())
    )


def _rows(observations: Any) -> Array:
    """[n, n_inputs] float32 of a batch of vectors."""
    values = observations.numpy() if isinstance(observations, th.Tensor) else np.asarray(observations)
    return np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float32)


def _recorded(batch: Segments) -> tuple[NDArray[np.intp], Array]:
    """Actions [N] and log b(.|s) [N, n_actions]."""
    stored = batch.actions.numpy()
    return stored[:, 0].astype(np.intp), stored[:, 1:]


def _in_time(batch: Segments, *parts: Any) -> list[NDArray]:
    """[T, B] arrays of [T * B] ones."""
    arrays = (part.numpy() if isinstance(part, th.Tensor) else part for part in parts)
    return [array.reshape(batch.n_steps, -1) for array in arrays]


def _log_softmax(logits: Array) -> Array:
    """Over the last axis."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
