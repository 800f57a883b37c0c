"""The learner of the asynchronous value methods: epsilon-greedy acting, squared error towards a target.

The methods differ in one function, :func:`ValueLearner._targets`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agents.async_q.exploration import epsilon, mean_epsilon
from agents.async_q.networks import action_values
from agents.async_q.targets import n_step_targets, one_step_targets
from agents.asynchronous.learner import Learner, Setting

Method = Literal["one-step Q", "one-step Sarsa", "n-step Q"]


@dataclass(frozen=True, kw_only=True)
class ValueRecipe:
    """Settings of a value method as they travel to a worker.

    Attributes:
        method: which target.
        gamma: discount per step.
        target_update_interval: global environment steps between two copies into the target network.
        initial_epsilon: exploration at the start of the run.
        final_epsilons: every worker's exploration at the end of the annealing.
        exploration_fraction: share of the run over which exploration is annealed.
    """

    method: Method
    gamma: float
    target_update_interval: int
    initial_epsilon: float
    final_epsilons: tuple[float, ...]
    exploration_fraction: float

    def learner(self, setting: Setting) -> Learner:
        """A learner for one worker."""
        return ValueLearner(self, setting)


class ValueLearner:
    """One worker's learner."""

    def __init__(self, recipe: ValueRecipe, setting: Setting) -> None:
        self.parameters = setting.parameters
        self._recipe = recipe
        self._segment = setting.segment
        self._values = action_values(setting)
        self._generator = np.random.default_rng(setting.seed)
        self._target = setting.arrays["target"]
        self._shared_parameters = setting.arrays["parameters"]
        self._target_copied_at = setting.arrays["target_copied_at"]
        self._final = recipe.final_epsilons[setting.worker]
        self._epsilon = recipe.initial_epsilon
        self._progress = 0.0
        self._n_actions = int(setting.policy.action_space.n)  # type: ignore[attr-defined]
        # the actions that Sarsa has chosen for the observations that come next
        self.memory: NDArray[np.int64] | None = None
        self._errors = np.zeros(0, dtype=np.float32)

    def begin(self, step: int, progress: float) -> None:
        """Anneal exploration, and copy into the target network when that is due."""
        recipe = self._recipe
        self._epsilon = epsilon(recipe.initial_epsilon, self._final, recipe.exploration_fraction, progress)
        self._progress = progress
        self._copy_to_target(step)
        self._values.begin()

    def _copy_to_target(self, step: int) -> None:
        """Every ``target_update_interval`` global steps, by whichever worker comes first."""
        interval = self._recipe.target_update_interval
        if step // interval > self._target_copied_at[0] // interval:
            # two workers may both come here; the second copies almost the same parameters again
            self._target_copied_at[0] = step
            np.copyto(self._target, self._shared_parameters)
            self._values.copy_buffers_to_target()

    def act(self, t: int) -> NDArray[Any]:
        """Epsilon-greedy by the worker's own parameters."""
        row: NDArray[Any] = self._segment.actions[t]
        values = self._values.act(t)
        if self.memory is not None:
            # Sarsa has chosen already: its target used the action that is taken now
            row[:] = self.memory
            self.memory = None
        else:
            row[:] = self._choose(values)
        return row

    def _choose(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        greedy: NDArray[np.int64] = values.argmax(axis=1)
        explore = self._generator.random(len(greedy)) < self._epsilon
        if explore.any():
            greedy[explore] = self._generator.integers(self._n_actions, size=int(explore.sum()))
        return greedy

    def gradient(self) -> NDArray[np.float32]:
        """Gradient of sum (y - Q(s, a))^2 over the segment."""
        segment = self._segment
        targets = self._targets().reshape(-1).astype(np.float32)
        actions = segment.actions[: segment.length].reshape(-1)
        gradient, chosen = self._values.gradient(actions, targets)
        self._errors = targets - chosen
        return gradient

    def _targets(self) -> NDArray[np.float64]:
        segment, gamma = self._segment, self._recipe.gamma
        n = segment.length
        rewards, terminated, truncated = segment.rewards[:n], segment.terminated[:n], segment.truncated[:n]
        if self._recipe.method == "one-step Sarsa":
            return one_step_targets(rewards, self._values_of_actions_taken_next(), terminated, gamma)
        if self._recipe.method == "one-step Q":
            return one_step_targets(rewards, self._greatest_next_values(), terminated, gamma)
        return n_step_targets(rewards, self._greatest_next_values(), terminated, truncated, gamma)

    def _greatest_next_values(self) -> NDArray[Any]:
        """max_a Q(s', a; theta-), (length, n_envs), of the observations before any reset."""
        found = self._values.target_of_next_rows().max(axis=2)
        segment = self._segment
        if segment.final_observations:
            final = self._values.target_of(segment.stacked_final_observations()).max(axis=1)
            for (t, env, _), value in zip(segment.final_observations, final, strict=True):
                found[t, env] = value
        return found

    def _values_of_actions_taken_next(self) -> NDArray[Any]:
        """Q(s', a'; theta-), (length, n_envs), with a' the action that is taken in s'.

        After the segment's last step it is chosen here and kept for the next segment; in the final observation of a
        truncated episode nothing is taken any more, and a' is what the policy would have chosen.
        """
        segment = self._segment
        n = segment.length
        self.memory = self._choose(self._values.of_row(n))
        next_actions = np.concatenate([segment.actions[1:n], self.memory[None]])
        found = np.take_along_axis(self._values.target_of_next_rows(), next_actions[:, :, None], axis=2)[:, :, 0]
        if segment.final_observations:
            final = segment.stacked_final_observations()
            chosen = self._choose(self._values.of(final))
            values = self._values.target_of(final)[np.arange(len(chosen)), chosen]
            for (t, env, _), value in zip(segment.final_observations, values, strict=True):
                found[t, env] = value
        return found

    def step_locals(self) -> dict[str, NDArray[Any]]:
        """Nothing beyond what every method gives."""
        return {}

    def statistics(self) -> dict[str, float]:
        """The last segment's mean squared error, and the workers' mean exploration."""
        recipe = self._recipe
        exploration_rate = mean_epsilon(
            recipe.initial_epsilon, recipe.final_epsilons, recipe.exploration_fraction, self._progress
        )
        return {"loss": float(np.square(self._errors).mean()), "rollout/exploration_rate": exploration_rate}
