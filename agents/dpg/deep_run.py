"""The updates of deep DPG: one step of the optimizer for each (vector) step of the environment.

The optimizer's step takes the place of alpha times the increment; see ``agents.dpg.deep_gradients``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch as th
from numpy.typing import NDArray

from agents.dpg.deep_gradients import Gradients, TorchGradients, Transitions
from agents.dpg.deep_policy import DeepPolicy
from agents.dpg.online import BehaviorRun, FloatArray
from agents.dpg.perceptrons import perceptron_gradients
from agents.online.divergence import unusable_noise
from agents.online.errors import TrainingDivergedError
from agents.online.final_observations import final_observations
from agents.online.run import ended_for_good
from agents.online.unusable import unusable_observations, unusable_step

if TYPE_CHECKING:
    from agents.dpg.dpg import DPG


_LIMIT = 1e25
"""Gradients beyond this are of no task's; float32 has room for a step with them."""


class DeepRun(BehaviorRun):
    """One call of ``learn`` with networks.

    Args:
        model: the algorithm.
        total_timesteps: where to stop.
        log_interval: episodes between two log entries, None for none.
    """

    def __init__(self, model: DPG, total_timesteps: int, log_interval: int | None) -> None:
        super().__init__(model, total_timesteps, log_interval)
        self.policy = cast(DeepPolicy, model.policy)
        self.optimizer = self.policy.optimizer
        _check_groups(self.optimizer, self.policy.present(model.step_size_names))
        self._gradients = self._make_gradients()

    def _make_gradients(self) -> Gradients:
        return perceptron_gradients(self.policy, self.model.n_envs) or TorchGradients(self.policy)

    def begin(self, observations: Any) -> None:
        """What the gradients need of the first observations."""
        self._here = self._gradients.prepare(observations)

    def _means(self, observations: Any) -> FloatArray:
        return self._gradients.means(self._gradients.prepare(observations))

    def _means_here(self) -> FloatArray:
        return self._gradients.means(self._here)

    def learn(self, new_obs: Any, rewards: NDArray, dones: NDArray, infos: list[dict[str, Any]]) -> None:
        """One step of the optimizer."""
        if not self._gradients.stand():
            # A callback has loaded other weights, dropped the gradients or frozen something.
            self._gradients = self._make_gradients()
            self.begin(self.model._last_obs)
        model, gradients = self.model, self._gradients
        final = final_observations(new_obs, dones, infos)
        next_actions = self._choose_next(final, dones) if self._sarsa else None
        ended = [ended_for_good(done, info) for done, info in zip(dones.tolist(), infos, strict=True)]
        discounts = np.where(ended, 0.0, model.gamma)
        following = gradients.prepare(final)
        transitions = Transitions(self._scaled, rewards, discounts, next_actions)
        found = gradients.write(self._here, following, transitions, model.natural_gradient)
        # A sum, as NaN in one of the two must not be lost; and compared so that NaN fails as well.
        norm = gradients.norm() + float(np.abs(found.deltas).max())
        if not norm < _LIMIT:
            unusable = unusable_step(model, new_obs, rewards, dones, infos)
            if unusable is None and next_actions is not None and not np.isnan(self._means(final)).any():
                unusable = unusable_noise(next_actions.ravel().tolist())
            raise self._divergence(norm, unusable)
        self._step()
        self._losses.add(float(found.values.sum()), float(np.square(found.deltas).sum()), len(rewards))
        # What comes next was not among the transitions where an episode ended.
        self._here = gradients.prepare(new_obs) if dones.any() else following

    def _step(self) -> None:
        """Apply the gradients, each part with its own step size."""
        rates = self.policy.present(self.model.learning_rates())
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.step()

    def _divergence(self, norm: float, unusable: ValueError | None) -> Exception:
        """The error of a gradient that is not to be applied.

        Args:
            norm: its norm.
            unusable: the error of the environment or of the noise, if one of them is at fault.
        """
        # The parameters are finite: no gradient that is not was ever applied.
        return unusable or TrainingDivergedError(
            f"The gradient at step {self.model.num_timesteps} has the norm {norm:.1e} and was not applied: "
            f"{self._largest()} is too large; lower it, for example by a factor of 10, or normalize rewards and "
            "observations."
        )

    def _not_a_number(self, scaled: FloatArray) -> Exception:
        model = self.model
        if not np.isnan(self._means_here()).any() and (unusable := unusable_noise(scaled.ravel().tolist())):
            return unusable
        # As the environment gave them; else what became of them on the way to the policy.
        for observations in (model.raw_observations(), model._last_obs):
            if (unusable := unusable_observations(observations, model.num_timesteps)) is not None:
                return unusable
        return TrainingDivergedError(
            f"mu is not a number at step {model.num_timesteps}, though the observation is finite: {self._largest()} is "
            "too large, or the observation is; lower it, or normalize observations."
        )

    def _largest(self) -> str:
        """The step size of the part with the largest weights."""
        names = self.policy.present(self.model.step_size_names)
        groups = self.optimizer.param_groups
        sizes = [max(float(part.detach().abs().max()) for part in group["params"]) for group in groups]
        return names[int(np.argmax(np.nan_to_num(sizes, nan=np.inf)))]


def _check_groups(optimizer: th.optim.Optimizer, names: list[str]) -> None:
    """Refuse an optimizer that knows no parts.

    Raises:
        ValueError: its groups are not those that the policy made.
    """
    if len(optimizer.param_groups) != len(names):
        raise ValueError(
            f"policy.optimizer has {len(optimizer.param_groups)} parameter group(s), but there must be one for each of "
            f"{', '.join(names)}; choose another optimizer by policy_kwargs=dict(optimizer_class=...), or give yours "
            "the groups of the one that it replaces."
        )
