"""A3C for any actor-critic policy of SB3's, in torch: act without a graph, recompute once an update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import explained_variance, obs_as_tensor

from agents.asynchronous.learner import Setting
from agents.common.flat import normalizes_batches
from agents.common.losses import actor_critic_loss
from agents.common.returns import generalized_advantages

if TYPE_CHECKING:
    from agents.a3c.recipe import A3CRecipe


class TorchLearner:
    """Acts with the policy in evaluation mode and differentiates it in training mode (dropout, batch norm).

    Values and log probabilities of the steps are those of acting, as in SB3's A2C; the gradient comes from one batched
    forward pass over the segment.
    """

    def __init__(self, recipe: A3CRecipe, setting: Setting) -> None:
        assert isinstance(setting.policy, ActorCriticPolicy)
        self.parameters = setting.parameters
        self.memory: Any = None
        self._recipe = recipe
        self._policy = setting.policy
        self._segment = setting.segment
        self._flat = setting.flat
        self._gradient = setting.gradient
        self._mirrored = setting.flat.vector.device.type != "cpu"
        self._batch_norm = normalizes_batches(self._policy)
        space = self._policy.action_space
        self._space = space
        self._box = space if isinstance(space, spaces.Box) else None
        n_steps, n_envs = self._segment.n_steps, self._segment.n_envs
        self._values = np.zeros((n_steps, n_envs), dtype=np.float32)
        self._log_probs = np.zeros((n_steps, n_envs), dtype=np.float32)
        self._statistics: dict[str, float] = {}
        self._parts: tuple[th.Tensor, ...] = ()
        self._returns = np.zeros((n_steps, n_envs))

    def begin(self, step: int, progress: float) -> None:
        """A segment begins."""
        if self._mirrored:
            with th.no_grad():
                self._flat.vector.copy_(th.from_numpy(self.parameters))
        self._policy.set_training_mode(False)

    def act(self, t: int) -> NDArray[Any]:
        """Draw actions from the policy for row ``t``."""
        segment = self._segment
        with th.no_grad():
            observations = obs_as_tensor(segment.observation_row(t), self._policy.device)
            actions, values, log_probs = self._policy(observations)
        self._values[t] = values.reshape(-1).numpy(force=True)
        self._log_probs[t] = log_probs.numpy(force=True)
        segment.actions[t] = actions.numpy(force=True).reshape(segment.actions[t].shape)
        return self._for_environment(segment.actions[t])

    def _for_environment(self, actions: NDArray[Any]) -> NDArray[Any]:
        if self._box is None:
            return actions
        if self._policy.squash_output:
            return self._policy.unscale_action(actions)
        return np.clip(actions, self._box.low, self._box.high)

    def gradient(self) -> NDArray[np.float32]:
        """Gradient of A3C's loss, summed over the segment."""
        segment, recipe = self._segment, self._recipe
        n = segment.length
        advantages, self._returns = generalized_advantages(
            segment.rewards[:n],
            self._values[:n],
            segment.terminated[:n],
            segment.truncated[:n],
            self._truncation_values(),
            self._last_values(),
            recipe.gamma,
            recipe.gae_lambda,
        )
        policy = self._policy
        # a segment of a single step has no batch to normalize by: its row passes as while acting
        policy.set_training_mode(n * segment.n_envs > 1 or not self._batch_norm)
        device = policy.device
        values, log_probs, entropies = self._evaluate_actions()
        if entropies is None:
            # a distribution without a closed form (a squashed one): estimated by the actions taken
            entropies = -log_probs
        loss, *parts = actor_critic_loss(
            log_probs,
            values.flatten(),
            entropies,
            th.as_tensor(self._flatten(advantages), dtype=th.float32, device=device),
            th.as_tensor(self._flatten(self._returns), dtype=th.float32, device=device),
            recipe.ent_coef,
            recipe.vf_coef,
        )
        self._parts = tuple(part.detach() for part in parts)
        self._flat.zero_grad()
        loss.backward()
        if self._mirrored:
            np.copyto(self._gradient, self._flat.gradient.numpy(force=True))
        policy.set_training_mode(False)
        return self._gradient

    def _flatten(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(length, n_envs, ...) as the rows of one batch."""
        return rows.reshape(-1, *rows.shape[2:])

    def _flat_observations(self) -> Any:
        n = self._segment.length
        rows = self._segment.observations
        flat = (
            {key: self._flatten(part[:n]) for key, part in rows.items()}
            if isinstance(rows, dict)
            else self._flatten(rows[:n])
        )
        return obs_as_tensor(flat, self._policy.device)

    def _flat_actions(self) -> th.Tensor:
        actions = self._flatten(self._segment.actions[: self._segment.length])
        tensor = th.as_tensor(actions, device=self._policy.device)
        # a matrix of actions is a vector to SB3's normal distribution
        return tensor.long() if isinstance(self._space, spaces.Discrete) else tensor.float().flatten(1)

    def _evaluate_actions(self) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Values, log probabilities and entropies of the segment, with a graph."""
        return self._policy.evaluate_actions(self._flat_observations(), self._flat_actions())

    def _last_values(self) -> NDArray[np.float32]:
        """V of the observations after the last step, (n_envs,)."""
        return self._predict_values(self._segment.observation_row(self._segment.length))

    def _final_values(self) -> NDArray[np.float32]:
        """V of the final observations of truncated episodes, in their order."""
        return self._predict_values(self._segment.stacked_final_observations())

    def _predict_values(self, observations: Any) -> NDArray[np.float32]:
        with th.no_grad():
            values = self._policy.predict_values(obs_as_tensor(observations, self._policy.device))
        return values.reshape(-1).numpy(force=True)

    def _truncation_values(self) -> NDArray[np.float64]:
        segment = self._segment
        found = np.zeros((segment.length, segment.n_envs))
        if segment.final_observations:
            for (t, env, _), value in zip(segment.final_observations, self._final_values(), strict=True):
                found[t, env] = value
        return found

    def step_locals(self) -> dict[str, NDArray[Any]]:
        """values (length, n_envs, 1), log_probs (length, n_envs), clipped_actions."""
        n = self._segment.length
        return {
            "values": self._values[:n, :, None].copy(),
            "log_probs": self._log_probs[:n].copy(),
            "clipped_actions": self._for_environment(self._segment.actions[:n]).copy(),
        }

    def statistics(self) -> dict[str, float]:
        """Means over the last segment, under A2C's names."""
        n = self._segment.length * self._segment.n_envs
        policy_loss, value_loss, entropy_loss = (float(part) / n for part in self._parts)
        values = self._values[: self._segment.length].reshape(-1)
        found = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy_loss": entropy_loss,
            "explained_variance": float(explained_variance(values, self._returns.reshape(-1))),
        }
        if hasattr(self._policy, "log_std"):
            found["std"] = float(self._policy.log_std.detach().exp().mean())
        return found
