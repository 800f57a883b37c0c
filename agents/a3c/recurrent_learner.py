"""A3C with an LSTM between features and heads (Mnih et al. 2016, the LSTM variant), on sb3-contrib's policies.

The state goes on from segment to segment and starts at zero with every episode. The gradient flows through the segment,
from the state in which the segment began, which is a constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.utils import obs_as_tensor

from agents.a3c.torch_learner import TorchLearner
from agents.asynchronous.learner import Setting

if TYPE_CHECKING:
    from agents.a3c.recipe import A3CRecipe


class RecurrentLearner(TorchLearner):
    """A torch learner that carries LSTM states; they are its ``memory``."""

    _policy: RecurrentActorCriticPolicy

    def __init__(self, recipe: A3CRecipe, setting: Setting) -> None:
        super().__init__(recipe, setting)
        n_layers, _, width = self._policy.lstm_hidden_state_shape
        zeros = th.zeros(n_layers, self._segment.n_envs, width, device=self._policy.device)
        self.memory = RNNStates((zeros, zeros), (zeros, zeros))
        self._first_states = self.memory
        # after each step, for the value of a final observation, which the episode's own state must judge
        self._states_after: list[RNNStates] = []

    def begin(self, step: int, progress: float) -> None:
        """A segment begins in the state in which the last one ended."""
        super().begin(step, progress)
        self._first_states = self.memory
        self._states_after = []

    def act(self, t: int) -> NDArray[Any]:
        """Draw actions from the policy for row ``t``."""
        segment = self._segment
        with th.no_grad():
            actions, values, log_probs, self.memory = self._policy(
                obs_as_tensor(segment.observation_row(t), self._policy.device),
                self.memory,
                self._starts(segment.episode_starts[t]),
            )
        self._states_after.append(self.memory)
        self._values[t] = values.reshape(-1).numpy(force=True)
        self._log_probs[t] = log_probs.numpy(force=True)
        segment.actions[t] = actions.numpy(force=True).reshape(segment.actions[t].shape)
        return self._for_environment(segment.actions[t])

    def _starts(self, episode_starts: NDArray[np.bool_]) -> th.Tensor:
        return th.as_tensor(episode_starts, dtype=th.float32, device=self._policy.device)

    def _flatten(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Environment by environment, as the policy takes sequences."""
        return np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(-1, *rows.shape[2:])

    def _evaluate_actions(self) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        starts = self._starts(self._flatten(self._segment.episode_starts[: self._segment.length]))
        return self._policy.evaluate_actions(
            self._flat_observations(), self._flat_actions(), self._first_states, starts
        )

    def _last_values(self) -> NDArray[np.float32]:
        segment = self._segment
        starts = self._starts(segment.episode_starts[segment.length])
        return self._predict(segment.observation_row(segment.length), self.memory.vf, starts)

    def _final_values(self) -> NDArray[np.float32]:
        segment = self._segment
        hidden, cell = (
            th.cat(
                [self._states_after[t].vf[part][:, env : env + 1] for t, env, _ in segment.final_observations], dim=1
            )
            for part in (0, 1)
        )
        starts = th.zeros(len(segment.final_observations), device=self._policy.device)
        return self._predict(segment.stacked_final_observations(), (hidden, cell), starts)

    def _predict(self, observations: Any, states: tuple[th.Tensor, ...], starts: th.Tensor) -> NDArray[np.float32]:
        with th.no_grad():
            tensors: Any = obs_as_tensor(observations, self._policy.device)
            values = self._policy.predict_values(tensors, (states[0], states[1]), starts)
        return values.reshape(-1).numpy(force=True)
