"""Deep Off-PAC: act with b, keep b's probabilities, learn from replayed transitions.

Critic: Retrace(lambda) on action values or V-trace on state values. Actor, for Discrete actions with action values, the
truncated ratio with bias correction of Wang et al. (2017, "ACER", equation 7)::

    g = min(c, rho) grad log pi(a|s) (R - V(s)) + sum_a [1 - c / rho(a)]_+ pi(a|s) grad log pi(a|s) (Q(s, a) - V(s))

With V-trace only the first term is there (Espeholt et al., 2018): where ratios exceed ``rho_bar`` it is biased towards
the behavior policy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.utils import polyak_update
from torch.nn import functional

from agents.common.retrace import retrace_targets
from agents.common.vtrace import vtrace_targets
from agents.off_pac.behavior import ContinuousBehavior, DiscreteBehavior
from agents.off_pac.deep_policy import DeepPolicy, entropy
from agents.off_pac.perceptrons import perceptrons_of
from agents.off_pac.replay_buffers import SegmentMixin, Segments, recorded

if TYPE_CHECKING:
    from agents.off_pac.off_pac import OffPAC


class _TorchTarget:
    """The deep policy's Gaussian at the observations of the moment."""

    def __init__(self, distribution: Any, n: int) -> None:
        self.n = n
        self._distribution = distribution

    def sample(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """[n, action_dim] actions in environment units."""
        return cast("NDArray[np.float64]", self._distribution.sample().cpu().numpy().astype(np.float64))

    def log_density(self, actions: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n] log densities."""
        parameters = self._distribution.distribution.mean
        given = th.as_tensor(actions, dtype=parameters.dtype, device=parameters.device)
        return cast("NDArray[np.float64]", self._distribution.log_prob(given).cpu().numpy().astype(np.float64))


def act(model: OffPAC) -> tuple[NDArray, NDArray[np.float32]]:
    """Let the behavior policy act in every environment.

    Returns:
        What the environments take, and what the replay buffer stores.
    """
    policy, behavior, n = cast(DeepPolicy, model.policy), model.behavior, model.n_envs
    watched = model.raw_observations() if behavior.uses_observations else None
    if isinstance(behavior, DiscreteBehavior):
        n_actions = int(cast(spaces.Discrete, model.action_space).n)
        # A softmax gives every action some probability: where b does not depend on it, that is all to be known of it.
        target = _probabilities(model) if behavior.uses_target else np.full((n, n_actions), 1.0 / n_actions)
        actions, rows = behavior.draw_with_rows(watched, target, [model.generator.random() for _ in range(n)])
        drawn = np.array(actions, dtype=np.int64)
        return drawn, recorded(drawn, np.log(np.maximum(rows, np.finfo(np.float32).tiny)))
    assert isinstance(behavior, ContinuousBehavior)
    space = cast(spaces.Box, model.action_space)
    with th.no_grad():
        distribution = policy.get_distribution(policy.obs_to_tensor(cast(Any, model._last_obs))[0])
        unclipped, log_density = behavior.draw(watched, _TorchTarget(distribution, n), model.generator)
    executed = np.clip(unclipped.reshape((-1, *space.shape)), space.low, space.high).astype(space.dtype)
    return executed, recorded(unclipped, log_density)


def _probabilities(model: OffPAC) -> NDArray[np.float64]:
    """[n_envs, n_actions] pi(.|s) at the observations of the moment."""
    policy = cast(DeepPolicy, model.policy)
    networks = perceptrons_of(policy, 1)
    if networks is not None:
        return networks.probabilities(cast("NDArray", model._last_obs))
    with th.no_grad():
        tensors = policy.obs_to_tensor(cast(Any, model._last_obs))[0]
        return cast("NDArray[np.float64]", policy.log_probabilities(tensors).exp().cpu().numpy().astype(np.float64))


def update(model: OffPAC, gradient_steps: int, batch_size: int) -> None:
    """A number of gradient steps on actor and critic."""
    policy = cast(DeepPolicy, model.policy)
    policy.set_training_mode(True)
    parameters = [parameter for group in policy.optimizer.param_groups for parameter in group["params"]]
    actor_rate, critic_rate, _ = model.learning_rates()
    for group, rate in zip(policy.optimizer.param_groups, (actor_rate, critic_rate), strict=True):
        group["lr"] = rate
    found = []
    for _ in range(gradient_steps):
        batch = _draw(model, batch_size)
        means, norm = _write_gradient(model, batch, parameters)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"The gradient at step {model.num_timesteps} is not finite and was not applied; lower learning_rate "
                f"({actor_rate:g}) and critic_learning_rate ({critic_rate:g}), or normalize rewards and observations."
            )
        policy.optimizer.step()
        found.append(means)
    policy.set_training_mode(False)
    model._n_updates += gradient_steps
    model.record_update(np.mean(found, axis=0).tolist())


def _write_gradient(
    model: OffPAC, batch: Segments, parameters: list[th.nn.Parameter]
) -> tuple[tuple[float, float, float], float]:
    """Clipped gradients of both losses; actor loss, critic loss and entropy, and the norm from before clipping."""
    policy = cast(DeepPolicy, model.policy)
    networks = perceptrons_of(policy, len(batch.rewards))
    if networks is not None:
        means = networks.write_gradient(model, batch)
        return means, networks.clip(model.max_grad_norm)
    actor_loss, critic_loss, mean_entropy = losses(model, batch)
    policy.optimizer.zero_grad()
    (actor_loss + critic_loss).backward()
    norm = th.nn.utils.clip_grad_norm_(parameters, model.max_grad_norm, foreach=True)
    actor, critic, mean = th.stack([actor_loss.detach(), critic_loss.detach(), mean_entropy]).tolist()
    return (actor, critic, mean), norm.item()


def copy_target(model: OffPAC) -> None:
    """Move the target critic towards the critic by ``tau``."""
    policy = cast(DeepPolicy, model.policy)
    polyak_update(policy.critic.parameters(), policy.critic_target.parameters(), model.tau)
    # Statistics of normalization layers are taken over whole; counters among them are integers.
    for buffer, copied in zip(policy.critic.buffers(), policy.critic_target.buffers(), strict=True):
        copied.copy_(buffer)


def _draw(model: OffPAC, batch_size: int) -> Segments:
    """Transitions as segments; single ones from any replay buffer."""
    buffer = model.replay_buffer
    assert buffer is not None
    if model.n_steps > 1:
        return cast(SegmentMixin, buffer).sample_segments(batch_size, model.n_steps, model._vec_normalize_env)
    data = buffer.sample(batch_size, env=model._vec_normalize_env)
    ones = th.ones(len(data.actions), device=data.actions.device)
    return Segments(
        data.observations,
        data.actions,
        data.next_observations,
        data.dones.ravel(),
        data.rewards.ravel(),
        ones.bool(),
        ones,
        1,
    )


def losses(model: OffPAC, batch: Segments) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Actor loss, critic loss and mean entropy of a batch of segments."""
    if model.critic == "retrace":
        return _retrace_losses(model, batch)
    return _vtrace_losses(model, batch)


def _retrace_losses(model: OffPAC, batch: Segments) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    policy, has_target = cast(DeepPolicy, model.policy), model.target_update_interval > 0
    actions = batch.actions[:, :1].long()
    log_behavior = batch.actions[:, 1:]
    # One pass for s and s': on small networks a call costs more than its rows do.
    both = policy.log_probabilities(_stacked(batch.observations, batch.next_observations))
    log_target, next_log_target = both.tensor_split(2)
    probabilities = log_target.detach().exp()
    q_values = policy.critic_output(batch.observations)
    taken = q_values.gather(1, actions).squeeze(1)
    with th.no_grad():
        following = policy.critic_output(batch.next_observations, target=has_target)
        next_values = (next_log_target.exp() * following).sum(dim=1)
        ratios = (log_target - log_behavior).exp()
        rho = ratios.gather(1, actions).squeeze(1)
        model.ratio_statistics.extend(rho.cpu().numpy())
        targets = _returns(model, batch, following, next_values, rho)
        values = (probabilities * q_values).sum(dim=1)
        truncated = rho.clamp(max=model.rho_bar) * (targets - values)
        # NaN stands for a probability that a data set does not give; those actions go without correction.
        correction = (1.0 - model.rho_bar / ratios).clamp(min=0.0).nan_to_num(nan=0.0)
        weights = correction * probabilities * (q_values - values.unsqueeze(1))
        weights.scatter_add_(1, actions, truncated.unsqueeze(1))
    objective = (weights * log_target).sum(dim=1)
    errors = functional.smooth_l1_loss(taken, targets, reduction="none")
    return _assemble(model, batch, objective, errors, -(log_target.exp() * log_target).sum(dim=1))


def _stacked(first: Any, second: Any) -> Any:
    """Two batches of observations one after the other."""
    if isinstance(first, dict):
        return {key: th.cat([first[key], second[key]]) for key in first}
    return th.cat([first, second])


def _returns(model: OffPAC, batch: Segments, following: th.Tensor, next_values: th.Tensor, rho: th.Tensor) -> th.Tensor:
    """[T * B] Retrace targets, from action values [T * B, n_actions] of the next observations."""
    if batch.n_steps == 1:
        return batch.rewards + model.gamma * (1.0 - batch.terminated) * next_values
    shape = (batch.n_steps, -1)
    # Inside a segment the next observation is that of the next step: its values are here already.
    next_actions = batch.actions[:, :1].long().roll(-(len(batch.actions) // batch.n_steps), dims=0)
    next_taken = following.gather(1, next_actions).squeeze(1)
    parts = (next_taken, next_values, batch.rewards, rho, batch.terminated, batch.cut)
    q, v, r, ratios, terminated, cut = (part.reshape(shape).cpu().numpy() for part in parts)
    targets = retrace_targets(q, v, r, ratios, terminated, cut, model.gamma, model.trace_decay)
    return th.as_tensor(targets, dtype=rho.dtype, device=rho.device).ravel()


def _vtrace_losses(model: OffPAC, batch: Segments) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    policy, has_target = cast(DeepPolicy, model.policy), model.target_update_interval > 0
    distribution = policy.get_distribution(batch.observations)
    if isinstance(model.action_space, spaces.Discrete):
        actions = batch.actions[:, :1].long()
        log_target = distribution.log_prob(actions.squeeze(1))
        log_behavior = batch.actions[:, 1:].gather(1, actions).squeeze(1)
    else:
        log_target = distribution.log_prob(batch.actions[:, :-1])
        log_behavior = batch.actions[:, -1]
    values = policy.state_values(batch.observations)
    with th.no_grad():
        next_values = policy.state_values(batch.next_observations, target=has_target)
        rho = (log_target - log_behavior).exp()
        model.ratio_statistics.extend(rho.cpu().numpy())
        shape = (batch.n_steps, -1)
        parts = (values, next_values, batch.rewards, rho, batch.terminated, batch.cut)
        v, following, r, ratios, terminated, cut = (part.detach().reshape(shape).cpu().numpy() for part in parts)
        found = vtrace_targets(v, following, r, ratios, terminated, cut, model.gamma, model.trace_decay, model.rho_bar)
        targets, advantages = (th.as_tensor(part, dtype=rho.dtype, device=rho.device).ravel() for part in found)
        weights = rho.clamp(max=model.rho_bar) * advantages
    objective = weights * log_target
    return _assemble(
        model, batch, objective, functional.smooth_l1_loss(values, targets, reduction="none"), entropy(distribution)
    )


def _assemble(
    model: OffPAC, batch: Segments, objective: th.Tensor, errors: th.Tensor, entropies: th.Tensor
) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Means over the rows that belong to their segments."""
    total = batch.mask.sum()
    mean_entropy = (entropies * batch.mask).sum() / total
    actor_loss = -(objective * batch.mask).sum() / total - model.ent_coef * mean_entropy
    critic_loss = (errors * batch.mask).sum() / total
    return actor_loss, critic_loss, mean_entropy.detach()
