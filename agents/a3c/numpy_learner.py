"""A3C for plain perceptron policies, in NumPy, on the memory of SB3's torch policy.

Acting keeps each layer's results, so an update needs no second forward pass of the actor; the critic runs once over the
segment and the observation after it. The gradient is written by hand and checked against autograd in the tests. For
images a convolutional network, in torch without autograd, gives the perceptrons their inputs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor, NatureCNN
from stable_baselines3.common.utils import explained_variance

from agents.a3c.paper_cnn import PaperCNN
from agents.asynchronous.feature_rows import FeatureRows
from agents.asynchronous.learner import Setting
from agents.asynchronous.rows import ObservationRows
from agents.asynchronous.segment import Segment
from agents.common.convolutions import ImageNetwork
from agents.common.mlp import Perceptron, layers_of
from agents.common.returns import generalized_advantages, generalized_advantages_of_one

if TYPE_CHECKING:
    from agents.a3c.recipe import A3CRecipe

_NOISE_BLOCK = 512  # steps whose noise is drawn at once: one call instead of hundreds
_LOG_2_PI = math.log(2.0 * math.pi)

Array = NDArray[np.float32]


class _Head(Protocol):
    """How network outputs become actions, and the loss by them."""

    def begin(self) -> None:
        """A segment begins with new parameters."""

    def act(self, outputs: Array, t: int) -> NDArray[Any]:
        """Draw actions, store them in the segment, answer what to step with."""

    def gradient(self, outputs: Array, advantages: Array, ent_coef: float) -> Array:
        """The loss's gradient by the outputs, (n, width)."""

    def log_probs_and_entropies(self, outputs: Array) -> tuple[Array, Array]:
        """Of the actions taken, (n,) each."""

    def clipped_actions(self, n_steps: int) -> NDArray[Any]:
        """The actions as the environments got them, (n_steps, n_envs, ...)."""


class _Categorical:
    """Discrete actions: softmax of the outputs."""

    def __init__(self, setting: Setting, generator: np.random.Generator, width: int) -> None:
        self._segment = setting.segment
        self._generator = generator
        n_envs = setting.segment.n_envs
        # one environment's outputs are a vector
        self._shape = (_NOISE_BLOCK, n_envs, width) if n_envs > 1 else (_NOISE_BLOCK, width)
        self._noise: list[Array] = []
        self._all_rows = np.arange(setting.segment.n_steps * setting.segment.n_envs)

    def begin(self) -> None:
        """Nothing depends on the parameters but the outputs."""

    def act(self, outputs: Array, t: int) -> NDArray[np.int64]:
        """Gumbel-max: argmax of log pi + Gumbel noise is a draw from pi."""
        if not self._noise:
            self._noise = list(self._generator.gumbel(size=self._shape).astype(np.float32))
        row: NDArray[np.int64] = self._segment.actions[t]
        row[:] = (outputs + self._noise.pop()).argmax(-1)
        return row

    def _log_softmax(self, outputs: Array) -> tuple[Array, Array]:
        shifted = outputs - np.maximum.reduce(outputs, axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        sums = np.add.reduce(exponentials, axis=1, keepdims=True)
        exponentials /= sums
        shifted -= np.log(sums)
        return shifted, exponentials

    def _actions(self, n: int) -> NDArray[Any]:
        return self._segment.actions.reshape(-1)[:n]

    def gradient(self, outputs: Array, advantages: Array, ent_coef: float) -> Array:
        """d/dz [ -A log pi(a) - beta H ] = A (pi - 1_a) + beta pi (log pi + H)."""
        n = len(outputs)
        log_pi, pi = self._log_softmax(outputs)
        weighted = log_pi * pi
        log_pi -= np.add.reduce(weighted, axis=1, keepdims=True)  # + H
        log_pi *= ent_coef
        log_pi += advantages[:, None]
        pi *= log_pi
        pi[self._all_rows[:n], self._actions(n)] -= advantages
        return pi

    def log_probs_and_entropies(self, outputs: Array) -> tuple[Array, Array]:
        """Of the actions taken."""
        log_pi, pi = self._log_softmax(outputs)
        n = len(outputs)
        return log_pi[self._all_rows[:n], self._actions(n)], -(log_pi * pi).sum(axis=1)

    def clipped_actions(self, n_steps: int) -> NDArray[Any]:
        """Discrete actions are never clipped."""
        return self._segment.actions[:n_steps].copy()


class _Gaussian:
    """Box actions: a normal distribution around the outputs, with a standard deviation of its own a dimension."""

    def __init__(self, setting: Setting, generator: np.random.Generator, width: int, space: spaces.Box) -> None:
        assert isinstance(setting.policy, ActorCriticPolicy)
        self._segment = setting.segment
        self._generator = generator
        self._log_std = setting.policy.log_std.detach().numpy()
        assert setting.policy.log_std.grad is not None
        self._log_std_gradient = setting.policy.log_std.grad.numpy()
        self._std = np.exp(self._log_std)
        n_envs = setting.segment.n_envs
        self._shape = (_NOISE_BLOCK, n_envs, width) if n_envs > 1 else (_NOISE_BLOCK, width)
        self._noise: list[Array] = []
        self._low, self._high = space.low, space.high
        self._action_shape = (setting.segment.n_envs, *space.shape)

    def begin(self) -> None:
        """The standard deviation stays for a segment."""
        np.exp(self._log_std, out=self._std)

    def act(self, outputs: Array, t: int) -> NDArray[Any]:
        """Mean + sigma * noise; the environment gets it clipped to its box."""
        if not self._noise:
            self._noise = list(self._generator.standard_normal(self._shape, dtype=np.float32))
        actions = self._noise.pop() * self._std
        actions += outputs
        actions = actions.reshape(self._action_shape)
        self._segment.actions[t] = actions
        clipped: NDArray[Any] = np.maximum(actions, self._low)
        return np.minimum(clipped, self._high, out=clipped)

    def _normalized(self, outputs: Array) -> Array:
        actions = self._segment.actions.reshape(-1, outputs.shape[1])[: len(outputs)]
        return np.divide(actions - outputs, self._std, dtype=np.float32)

    def gradient(self, outputs: Array, advantages: Array, ent_coef: float) -> Array:
        """With z = (a - mu) / sigma: by mu -A z / sigma, by log sigma sum_i [ -A (z^2 - 1) - beta ]."""
        z = self._normalized(outputs)
        weighted = z * advantages[:, None]
        np.dot(advantages, 1.0 - z * z, out=self._log_std_gradient)
        self._log_std_gradient -= ent_coef * len(outputs)
        weighted /= -self._std
        return weighted

    def log_probs_and_entropies(self, outputs: Array) -> tuple[Array, Array]:
        """Of the actions taken, summed over dimensions."""
        z = self._normalized(outputs)
        log_probs = (-0.5 * (z * z + _LOG_2_PI) - self._log_std).sum(axis=1)
        entropy = float((0.5 + 0.5 * _LOG_2_PI + self._log_std).sum())
        return log_probs, np.full(len(outputs), entropy, dtype=np.float32)

    def clipped_actions(self, n_steps: int) -> NDArray[Any]:
        """The actions as the environments got them."""
        return np.clip(self._segment.actions[:n_steps], self._low, self._high)


class NumpyLearner:
    """Acts and computes A3C's gradient without torch; made by :meth:`serve`."""

    def __init__(
        self,
        recipe: A3CRecipe,
        setting: Setting,
        actor: Perceptron,
        critic: Perceptron,
        inputs: ObservationRows | FeatureRows,
        head: _Head,
    ) -> None:
        self.parameters = setting.parameters
        self.memory = None
        self._recipe = recipe
        # an array: to make a Python number its own takes NumPy as long as to multiply a segment by it
        self._value_factor = np.array(2.0 * recipe.vf_coef, dtype=np.float32)
        self._segment = setting.segment
        self._gradient = setting.gradient
        self._actor = actor
        self._critic = critic
        self._inputs = inputs
        self._head = head
        self._std = head._log_std if isinstance(head, _Gaussian) else None
        self._advantages = np.zeros(0, dtype=np.float32)
        self._returns = np.zeros(0, dtype=np.float32)
        self._values = np.zeros(0, dtype=np.float32)

    @classmethod
    def serve(cls, recipe: A3CRecipe, setting: Setting) -> NumpyLearner | None:
        """A learner for the policy, or None where the policy is more than two plain perceptrons."""
        policy, segment = setting.policy, setting.segment
        if (
            not isinstance(policy, ActorCriticPolicy)
            or type(policy) not in (ActorCriticPolicy, ActorCriticCnnPolicy)
            or policy.device.type != "cpu"
            or policy.use_sde
            or type(policy.mlp_extractor) is not MlpExtractor
        ):
            return None
        found = _inputs_of(policy, segment)
        actor_layers = layers_of([*policy.mlp_extractor.policy_net, policy.action_net])
        critic_layers = layers_of([*policy.mlp_extractor.value_net, policy.value_net])
        if found is None or actor_layers is None or critic_layers is None:
            return None
        inputs, covered = found
        width = len(actor_layers[-1].bias)
        generator = np.random.default_rng(setting.seed)
        head: _Head
        covered += sum(layer.weight.size + layer.bias.size for layer in actor_layers + critic_layers)
        if type(policy.action_dist) is CategoricalDistribution:
            head = _Categorical(setting, generator, width)
        elif (
            type(policy.action_dist) is DiagGaussianDistribution
            and isinstance(policy.action_space, spaces.Box)
            and policy.log_std.requires_grad
        ):
            head = _Gaussian(setting, generator, width, policy.action_space)
            covered += width
        else:
            return None
        if covered != len(setting.parameters):
            return None
        return cls(
            recipe,
            setting,
            Perceptron(actor_layers, segment.n_steps, segment.n_envs),
            Perceptron(critic_layers, segment.n_steps + 1, segment.n_envs),
            inputs,
            head,
        )

    def begin(self, step: int, progress: float) -> None:
        """A segment begins."""
        self._inputs.begin()
        self._head.begin()

    def act(self, t: int) -> NDArray[Any]:
        """Draw actions from the policy for row ``t``."""
        return self._head.act(self._actor.forward_rows(self._inputs.encode(t), t), t)

    def gradient(self) -> NDArray[np.float32]:
        """Gradient of A3C's loss, summed over the segment."""
        segment, recipe = self._segment, self._recipe
        n_envs = segment.n_envs
        n = segment.length * n_envs
        self._inputs.encode(segment.length)
        # one pass over the segment and what follows it
        all_values = self._critic.forward(self._inputs.rows[: n + n_envs])[:, 0]
        values = self._values = all_values[:n]
        if n_envs == 1:
            self._estimate_one(all_values)
        else:
            self._estimate(all_values)
        value_gradient = values - self._returns
        value_gradient *= self._value_factor
        inputs = self._inputs.rows[:n]
        by_critic = self._critic.backward(inputs, value_gradient[:, None])
        outputs = self._actor.outputs[:n]
        by_actor = self._actor.backward(inputs, self._head.gradient(outputs, self._advantages, recipe.ent_coef))
        if isinstance(self._inputs, FeatureRows):
            by_features = self._critic.by_inputs(by_critic)
            by_features += self._actor.by_inputs(by_actor)
            self._inputs.backward(by_features)
        return self._gradient

    def _estimate_one(self, all_values: Array) -> None:
        segment, recipe = self._segment, self._recipe
        n = segment.length
        values = all_values.tolist()
        following = values[n]
        if segment.episode_starts[n, 0]:
            following = 0.0
            if segment.truncated[n - 1, 0]:
                following = self._value_of(segment.final_observations[-1][2])
        advantages, returns = generalized_advantages_of_one(
            segment.rewards[:n, 0].tolist(), values[:n], following, recipe.gamma, recipe.gae_lambda
        )
        self._advantages = np.array(advantages, dtype=np.float32)
        self._returns = np.array(returns, dtype=np.float32)

    def _estimate(self, all_values: Array) -> None:
        segment, recipe = self._segment, self._recipe
        n, n_envs = segment.length, segment.n_envs
        truncation_values = np.zeros((n, n_envs))
        for t, env, observation in segment.final_observations:
            truncation_values[t, env] = self._value_of(observation)
        values = all_values.reshape(n + 1, n_envs)
        advantages, returns = generalized_advantages(
            segment.rewards[:n],
            values[:n],
            segment.terminated[:n],
            segment.truncated[:n],
            truncation_values,
            values[n],
            recipe.gamma,
            recipe.gae_lambda,
        )
        self._advantages = advantages.reshape(-1).astype(np.float32)
        self._returns = returns.reshape(-1).astype(np.float32)

    def _value_of(self, observation: Any) -> float:
        return float(self._critic.evaluate(self._inputs.encode_others([observation]))[0, 0])

    def step_locals(self) -> dict[str, NDArray[Any]]:
        """values (length, n_envs, 1), log_probs (length, n_envs), clipped_actions."""
        shape = (self._segment.length, self._segment.n_envs)
        log_probs, _ = self._head.log_probs_and_entropies(self._actor.outputs[: len(self._values)])
        return {
            "values": self._values.reshape(*shape, 1).copy(),
            "log_probs": log_probs.reshape(shape),
            "clipped_actions": self._head.clipped_actions(self._segment.length),
        }

    def statistics(self) -> dict[str, float]:
        """Means over the last segment, under A2C's names."""
        log_probs, entropies = self._head.log_probs_and_entropies(self._actor.outputs[: len(self._values)])
        found = {
            "policy_loss": -float((self._advantages * log_probs).mean()),
            "value_loss": float(np.square(self._returns - self._values).mean()),
            "entropy_loss": -float(entropies.mean()),
            "explained_variance": float(explained_variance(self._values, self._returns)),
        }
        if self._std is not None:
            found["std"] = float(np.exp(self._std).mean())
        return found


def _inputs_of(policy: ActorCriticPolicy, segment: Segment) -> tuple[ObservationRows | FeatureRows, int] | None:
    """The perceptrons' inputs and the number of parameters behind them, or None where those are of another kind."""
    space, extractor = policy.observation_space, policy.pi_features_extractor
    if type(extractor) is FlattenExtractor and type(policy.vf_features_extractor) is FlattenExtractor:
        served = ObservationRows.serve(space, policy.normalize_images)
        return (ObservationRows(space, segment), 0) if served else None
    if type(extractor) not in (PaperCNN, NatureCNN) or policy.vf_features_extractor is not extractor:
        return None
    network = ImageNetwork.of(extractor.cnn, extractor.linear)  # type: ignore[arg-type]
    if network is None:
        return None
    scale = 1.0 / 255.0 if policy.normalize_images and is_image_space(space) else 1.0
    return FeatureRows(network, scale, segment), network.n_parameters
