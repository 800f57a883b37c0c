"""Losses of the asynchronous methods, summed over a segment (Mnih et al. 2016, Algorithms S2 and S3)."""

from __future__ import annotations

import torch as th


def actor_critic_loss(
    log_probs: th.Tensor,
    values: th.Tensor,
    entropies: th.Tensor,
    advantages: th.Tensor,
    returns: th.Tensor,
    ent_coef: float,
    vf_coef: float,
) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
    """A3C's loss: sum_i [ -log pi(a_i|s_i) A_i - ent_coef * H(pi(s_i)) + vf_coef * (R_i - V(s_i))^2 ].

    Sums, not means: the paper accumulates gradients over the segment. The advantages are constants; no gradient reaches
    the value function through the policy's term.

    Args:
        log_probs: (B,), of the actions taken.
        values: (B,).
        entropies: (B,).
        advantages: (B,), R - V at the time of acting; its gradient is not followed.
        returns: (B,), targets of the value function; their gradient is not followed.
        ent_coef: beta in the paper (.01).
        vf_coef: weight of the squared error (.5, by the paper's authors' mails).

    Returns:
        the loss, and its policy, value and entropy parts unweighted: sum(-log pi A), sum((R - V)^2), sum(-H).

    Raises:
        ValueError: shapes differ.
    """
    shapes = {tuple(x.shape) for x in (log_probs, values, entropies, advantages, returns)}
    if len(shapes) != 1:
        raise ValueError(
            f"log_probs, values, entropies, advantages and returns must share one shape, but have {shapes}."
        )
    policy_loss = -(advantages.detach() * log_probs).sum()
    value_loss = (returns.detach() - values).square().sum()
    entropy_loss = -entropies.sum()
    loss = policy_loss + ent_coef * entropy_loss + vf_coef * value_loss
    return loss, policy_loss, value_loss, entropy_loss


def squared_error_loss(values: th.Tensor, targets: th.Tensor) -> th.Tensor:
    """The value methods' loss: sum_i (y_i - Q(s_i, a_i))^2, with its factor 2 and without Huber's clipping.

    Args:
        values: (B,), of the actions taken.
        targets: (B,); their gradient is not followed.

    Raises:
        ValueError: shapes differ.
    """
    if values.shape != targets.shape:
        raise ValueError(f"values {tuple(values.shape)} and targets {tuple(targets.shape)} must share one shape.")
    return (targets.detach() - values).square().sum()
