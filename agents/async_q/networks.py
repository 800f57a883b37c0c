"""Action values for the learner: in NumPy for plain perceptrons, in torch for everything else.

Both act on the shared target network in place: its flat vector is the shared memory itself, so that a copy made by any
worker is everybody's target at once.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork

from agents.asynchronous.learner import Setting
from agents.asynchronous.rows import ObservationRows
from agents.common.flat import FlatParameters, normalizes_batches
from agents.common.losses import squared_error_loss
from agents.common.mlp import Layer, Perceptron, layers_of

Array = NDArray[np.float32]


class ActionValues(Protocol):
    """Q of the worker's own parameters and of the shared target network."""

    def begin(self) -> None:
        """A segment begins with new parameters."""

    def act(self, t: int) -> Array:
        """Q(s, .; theta') for row ``t`` of the segment, (n_envs, n_actions)."""

    def of_row(self, row: int) -> Array:
        """The same for any row, without being kept for the gradient."""

    def of(self, observations: Any) -> Array:
        """The same for other observations, (n, n_actions)."""

    def target_of_next_rows(self) -> Array:
        """Q(s, .; theta-) for rows 1 to length of the segment, (length, n_envs, n_actions)."""

    def target_of(self, observations: Any) -> Array:
        """Q(s, .; theta-) for other observations, (n, n_actions)."""

    def copy_buffers_to_target(self) -> None:
        """Let the target network's running statistics (batch norm) follow, as its parameters do."""

    def gradient(self, actions: NDArray[np.int64], targets: Array) -> tuple[Array, Array]:
        """Gradient (P,) of sum (y - Q(s, a))^2 over the segment, and those Q(s, a) (n,)."""


def action_values(setting: Setting) -> ActionValues:
    """The fast kind where the policy allows it."""
    return NumpyActionValues.serve(setting) or TorchActionValues(setting)


def _attach_target(setting: Setting) -> FlatParameters:
    """Let the target network live in the shared vector, taking the values that are there."""
    policy = setting.policy
    assert isinstance(policy, DQNPolicy)
    shared = th.from_numpy(setting.arrays["target"])
    flat = FlatParameters(policy.q_net_target.parameters(), vector=shared, take_vector=True)
    policy.q_net_target.set_training_mode(False)
    return flat


class NumpyActionValues:
    """Two perceptrons on the memory of SB3's DQN policy; made by :meth:`serve`."""

    def __init__(self, setting: Setting, online: list[Layer], target: list[Layer], rows: ObservationRows) -> None:
        segment = setting.segment
        self._segment = segment
        self._rows = rows
        self._gradient = setting.gradient
        self._online = Perceptron(online, segment.n_steps, segment.n_envs)
        self._target = Perceptron(target, segment.n_steps, segment.n_envs)
        self._width = len(online[-1].bias)
        self._all_rows = np.arange(segment.n_steps * segment.n_envs)

    @classmethod
    def serve(cls, setting: Setting) -> NumpyActionValues | None:
        """Values for the policy, or None where it is more than a plain perceptron."""
        policy = setting.policy
        if (
            type(policy) is not DQNPolicy
            or policy.device.type != "cpu"
            or not ObservationRows.serve(policy.observation_space, policy.normalize_images)
        ):
            return None
        networks = (policy.q_net, policy.q_net_target)
        if any(type(net) is not QNetwork or type(net.features_extractor) is not FlattenExtractor for net in networks):
            return None
        _attach_target(setting)
        online, target = (layers_of(list(net.q_net)) for net in networks)
        if online is None or target is None:
            return None
        if sum(layer.weight.size + layer.bias.size for layer in online) != len(setting.parameters):
            return None
        return cls(setting, online, target, ObservationRows(policy.observation_space, setting.segment))

    def begin(self) -> None:
        """The layers are views of the parameters."""

    def act(self, t: int) -> Array:
        """Q(s, .; theta') for row ``t``, kept for the gradient."""
        return self._online.forward_rows(self._rows.encode(t), t).reshape(-1, self._width)

    def of_row(self, row: int) -> Array:
        """Q(s, .; theta') for any row."""
        self._rows.encode(row)
        return self._online.evaluate(self._rows.groups[row])

    def of(self, observations: Any) -> Array:
        """Q(s, .; theta') for other observations."""
        return self._online.evaluate(self._rows.encode_others(observations))

    def target_of_next_rows(self) -> Array:
        """Q(s, .; theta-) for rows 1 to length."""
        segment = self._segment
        n, n_envs = segment.length, segment.n_envs
        self._rows.encode(n)
        values = self._target.forward(self._rows.rows[n_envs : (n + 1) * n_envs])
        return values.reshape(n, n_envs, self._width)

    def target_of(self, observations: Any) -> Array:
        """Q(s, .; theta-) for other observations."""
        return self._target.evaluate(self._rows.encode_others(observations))

    def copy_buffers_to_target(self) -> None:
        """A perceptron has none."""

    def gradient(self, actions: NDArray[np.int64], targets: Array) -> tuple[Array, Array]:
        """By hand: d/dQ(s, a) (y - Q)^2 = 2 (Q - y)."""
        n = len(targets)
        outputs = self._online.outputs[:n]
        where = (self._all_rows[:n], actions)
        chosen = outputs[where]
        by_outputs = np.zeros_like(outputs)
        by_outputs[where] = 2.0 * (chosen - targets)
        self._online.backward(self._rows.rows[:n], by_outputs)
        return self._gradient, chosen


class TorchActionValues:
    """SB3's DQN policies of any kind."""

    def __init__(self, setting: Setting) -> None:
        policy = setting.policy
        assert isinstance(policy, DQNPolicy)
        self._policy = policy
        self._segment = setting.segment
        self._flat = setting.flat
        self._parameters = setting.parameters
        self._gradient = setting.gradient
        self._batch_norm = normalizes_batches(policy.q_net)
        self._mirrored = setting.flat.vector.device.type != "cpu"
        if self._mirrored:
            self._shared_target = setting.arrays["target"]
            self._target_flat = FlatParameters(policy.q_net_target.parameters())
        else:
            _attach_target(setting)

    def begin(self) -> None:
        """Act in evaluation mode; a network on another device gets copies of the vectors."""
        if self._mirrored:
            with th.no_grad():
                self._flat.vector.copy_(th.from_numpy(self._parameters))
                self._target_flat.vector.copy_(th.from_numpy(self._shared_target))
        self._policy.set_training_mode(False)

    def act(self, t: int) -> Array:
        """Q(s, .; theta') for row ``t``."""
        return self.of_row(t)

    def of_row(self, row: int) -> Array:
        """Q(s, .; theta') for any row."""
        return self.of(self._segment.observation_row(row))

    def of(self, observations: Any) -> Array:
        """Q(s, .; theta') for other observations."""
        return self._evaluate(self._policy.q_net, observations)

    def target_of_next_rows(self) -> Array:
        """Q(s, .; theta-) for rows 1 to length."""
        segment = self._segment
        values = self.target_of(segment.flat_observations(first=1))
        return values.reshape(segment.length, segment.n_envs, -1)

    def target_of(self, observations: Any) -> Array:
        """Q(s, .; theta-) for other observations."""
        return self._evaluate(self._policy.q_net_target, observations)

    def _evaluate(self, network: QNetwork, observations: Any) -> Array:
        with th.no_grad():
            return network(obs_as_tensor(observations, self._policy.device)).numpy(force=True)

    def copy_buffers_to_target(self) -> None:
        """Running statistics, in the memory that all workers share."""
        for own, target in zip(self._policy.q_net.buffers(), self._policy.q_net_target.buffers(), strict=True):
            target.copy_(own)

    def gradient(self, actions: NDArray[np.int64], targets: Array) -> tuple[Array, Array]:
        """By autograd, in training mode."""
        policy = self._policy
        # a single step has no batch to normalize by: its row passes as while acting
        policy.set_training_mode(len(targets) > 1 or not self._batch_norm)
        values = policy.q_net(obs_as_tensor(self._segment.flat_observations(), policy.device))
        chosen = values.gather(1, th.as_tensor(actions, device=policy.device)[:, None])[:, 0]
        loss = squared_error_loss(chosen, th.as_tensor(targets, device=policy.device))
        self._flat.zero_grad()
        loss.backward()
        policy.set_training_mode(False)
        if self._mirrored:
            np.copyto(self._gradient, self._flat.gradient.numpy(force=True))
        return self._gradient, chosen.detach().numpy(force=True)
