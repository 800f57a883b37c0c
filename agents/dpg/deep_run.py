"""The updates of deep DPG: one step of the optimizer for each (vector) step of the environment.

The equations are those of ``agents.dpg.linear_learner``, with the gradient of a network in the place of features and
the optimizer's step in the place of alpha times the increment. Increments of several environments are summed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch as th
from numpy.typing import NDArray

from agents.common.compatible_features import Differential
from agents.dpg.deep_policy import DeepPolicy
from agents.dpg.online import BehaviorRun, FloatArray
from agents.online.errors import TrainingDivergedError
from agents.online.run import ended_for_good, final_observations

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
        self._layout = self.policy.layout
        # Asking a module for its parameters takes as long as a pass through a small network.
        compatible = self._layout.compatible
        self._theta, self._w, self._u = list(self.policy.actor.parameters()), list(self.policy.w), list(self.policy.u)
        self._critic = list((self.policy.value if compatible else self.policy.critic).parameters())

    def begin(self, observations: Any) -> None:
        """Tensors of the first observations."""
        self._here = self._tensors(observations)

    def _tensors(self, observations: Any) -> Any:
        return self.policy.obs_to_tensor(observations)[0]

    def _means(self, observations: Any) -> FloatArray:
        return self._means_of(self._tensors(observations))

    def _means_here(self) -> FloatArray:
        return self._means_of(self._here)

    def _means_of(self, tensors: Any) -> FloatArray:
        with th.no_grad():
            return self.policy.actor(tensors).cpu().numpy().astype(np.float64)

    def learn(self, new_obs: Any, rewards: NDArray, dones: NDArray, infos: list[dict[str, Any]]) -> None:
        """One step of the optimizer."""
        model = self.model
        final = final_observations(new_obs, dones, infos)
        next_actions = self._as_tensor(self._choose_next(final, dones)) if self._sarsa else None
        ended = [ended_for_good(bool(done), info) for done, info in zip(dones, infos, strict=True)]
        discounts = self._as_tensor(np.where(ended, 0.0, model.gamma))
        arguments = (self._as_tensor(self._scaled), self._as_tensor(rewards), discounts, self._tensors(final))
        if self._layout.compatible:
            delta = self._compatible_gradients(*arguments)
        else:
            delta = self._network_gradients(*arguments, next_actions)
        self._step(delta, rewards, arguments[3])
        # What comes next was not among the transitions where an episode ended.
        self._here = self._tensors(new_obs) if dones.any() else arguments[3]

    def _as_tensor(self, values: NDArray) -> th.Tensor:
        return th.as_tensor(values, dtype=th.float32, device=self.model.device)

    def _compatible_gradients(
        self, actions: th.Tensor, rewards: th.Tensor, discounts: th.Tensor, following: Any
    ) -> th.Tensor:
        """Negative increments of theta, w, v and u as gradients; the TD errors [n]."""
        policy, layout = self.policy, self._layout
        actor = Differential(policy.actor_function(self._here), self._theta)
        deviations = actions - actor.value
        slopes = actor.along(self._w)
        values = policy.value(self._here).squeeze(1)
        with th.set_grad_enabled(layout.gradient_td):
            # Q(s', mu(s')) is v(s') alone: the compatible features are 0 where a' is mu(s').
            next_values = policy.value(following).squeeze(1)
        errors = rewards + discounts * next_values - ((slopes * deviations).sum(dim=1) + values)
        delta = errors.detach()
        if self.model.natural_gradient:
            _set(self._theta, (-len(delta) * part.detach() for part in self._w))
        else:
            _set(self._theta, actor.summed(-slopes))
        _set(self._w, actor.summed(-delta.unsqueeze(1) * deviations))
        loss = -(delta * values).sum()
        if layout.gradient_td:
            expected = self._secondary_gradients(actor, deviations, delta)
            loss = loss + (discounts * expected * next_values).sum()
        _set(self._critic, th.autograd.grad(loss, self._critic))
        return delta

    def _secondary_gradients(self, actor: Differential, deviations: th.Tensor, delta: th.Tensor) -> th.Tensor:
        """Negative increment of u; phi.u [n]."""
        policy = self.policy
        n_actor = len(self._w)
        expected = (actor.along(self._u[:n_actor]) * deviations).sum(dim=1)
        if not self._layout.full_gq:
            _set(self._u, actor.summed(-(delta - expected).unsqueeze(1) * deviations))
            return expected
        state = Differential(policy.value_function(self._here), self._critic)
        expected = expected + state.along(self._u[n_actor:])
        residual = delta - expected
        _set(self._u, (*actor.summed(-residual.unsqueeze(1) * deviations), *state.summed(-residual)))
        return expected

    def _network_gradients(
        self,
        actions: th.Tensor,
        rewards: th.Tensor,
        discounts: th.Tensor,
        following: Any,
        next_actions: th.Tensor | None,
    ) -> th.Tensor:
        """Negative increments of theta and of a critic that is a network; the TD errors [n]."""
        policy, here = self.policy, self._here
        critic, actor = self._critic, self._theta
        # Not q1_forward: that passes no gradient into the features extractor.
        values = policy.critic(here, actions)[0].squeeze(1)
        with th.no_grad():
            chosen = policy.actor(following) if next_actions is None else next_actions
            next_values = policy.critic.q1_forward(following, chosen).squeeze(1)
        delta = (rewards + discounts * next_values - values).detach()
        _set(critic, th.autograd.grad(-(delta * values).sum(), critic))
        # theta += alpha grad mu grad_a Q(s, a) at a = mu(s)
        _set(actor, th.autograd.grad(-policy.critic.q1_forward(here, policy.actor(here)).sum(), actor))
        return delta

    def _step(self, delta: th.Tensor, rewards: NDArray, following: Any) -> None:
        """Apply the gradients, each part with its own step size."""
        model = self.model
        groups = self.optimizer.param_groups
        gradients = [parameter.grad for group in groups for parameter in group["params"]]
        norm = float(th.nn.utils.get_total_norm([*gradients, delta], foreach=True))
        # Written so that NaN fails as well.
        if not norm < _LIMIT:
            if not np.isfinite(rewards).all():
                raise ValueError(f"The environment gave the rewards {rewards}, but they must be finite; mend it.")
            # The parameters are finite: no gradient that is not was ever applied.
            if not _finite(following):
                raise self._not_a_number()
            raise TrainingDivergedError(
                f"The gradient at step {model.num_timesteps} has the norm {norm:.1e} and was not applied: "
                f"{self._largest()} is too large; lower it, for example by a factor of 10, or normalize rewards and "
                "observations."
            )
        for group, rate in zip(groups, self.policy.present(model.learning_rates()), strict=True):
            group["lr"] = rate
        self.optimizer.step()

    def _not_a_number(self) -> Exception:
        return ValueError(
            f"The observation holds NaN or infinity at step {self.model.num_timesteps}, but it must be finite; mend "
            "the environment, or normalize observations."
        )

    def _largest(self) -> str:
        """The step size of the part with the largest weights."""
        names = self.policy.present(self.model.step_size_names)
        groups = self.optimizer.param_groups
        sizes = [max(float(part.detach().abs().max()) for part in group["params"]) for group in groups]
        return names[int(np.argmax(np.nan_to_num(sizes, nan=np.inf)))]


def _finite(observations: Any) -> bool:
    parts = observations.values() if isinstance(observations, dict) else (observations,)
    return all(bool(th.isfinite(part).all()) for part in parts)


def _set(parameters: Iterable[th.Tensor], gradients: Iterable[th.Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.detach()
