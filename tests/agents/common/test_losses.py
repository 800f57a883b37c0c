"""Losses by hand, and where their gradients may and may not go."""

import pytest
import torch

from agents.common.losses import actor_critic_loss, squared_error_loss


def tensor(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def test_a3cs_loss_is_a_sum_of_three_terms() -> None:
    loss, policy, value, entropy = actor_critic_loss(
        log_probs=tensor(-1.0, -2.0),
        values=tensor(1.0, 2.0),
        entropies=tensor(0.5, 0.25),
        advantages=tensor(3.0, -4.0),
        returns=tensor(4.0, 4.0),
        ent_coef=0.1,
        vf_coef=0.5,
    )
    assert float(policy.detach()) == pytest.approx(3.0 - 8.0)  # -(3 * -1 + -4 * -2)
    assert float(value.detach()) == pytest.approx(9.0 + 4.0)
    assert float(entropy.detach()) == pytest.approx(-0.75)
    assert float(loss.detach()) == pytest.approx(-5.0 + 0.1 * -0.75 + 0.5 * 13.0)


def test_no_gradient_reaches_advantages_or_targets() -> None:
    log_probs, values, entropies, advantages, returns = (tensor(1.0, 2.0) for _ in range(5))
    loss, *_ = actor_critic_loss(log_probs, values, entropies, advantages, returns * 2, ent_coef=0.1, vf_coef=0.5)
    loss.backward()
    assert advantages.grad is None
    assert returns.grad is None
    assert log_probs.grad.tolist() == [-1.0, -2.0]  # minus the advantage: descending raises good actions
    assert values.grad.tolist() == pytest.approx([0.5 * 2 * (1 - 2), 0.5 * 2 * (2 - 4)])
    assert entropies.grad.tolist() == pytest.approx([-0.1, -0.1])


def test_twice_the_segment_is_twice_the_loss() -> None:
    part = [tensor(1.0, 2.0) for _ in range(5)]
    once, *_ = actor_critic_loss(*part, ent_coef=0.1, vf_coef=0.5)
    twice, *_ = actor_critic_loss(*(torch.cat([x, x]) for x in part), ent_coef=0.1, vf_coef=0.5)
    assert float(twice.detach()) == pytest.approx(2 * float(once.detach()))


def test_shapes_that_would_broadcast_are_refused() -> None:
    # (B, 1) values against (B,) returns would give B squared terms without a word
    flat = tensor(1.0, 2.0)
    with pytest.raises(ValueError, match="must share one shape"):
        actor_critic_loss(flat, flat[:, None], flat, flat, flat, ent_coef=0.1, vf_coef=0.5)
    with pytest.raises(ValueError, match="must share one shape"):
        squared_error_loss(flat[:, None], flat)


def test_squared_error_keeps_its_factor_2_beyond_hubers_corner() -> None:
    values, targets = tensor(0.0, 0.0), tensor(0.5, -10.0)
    loss = squared_error_loss(values, targets)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(100.25)
    assert values.grad.tolist() == [-1.0, 20.0]
    assert targets.grad is None
