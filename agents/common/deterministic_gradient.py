"""Deterministic policy gradients with linear critics: Silver et al. (2014).

Actions and means are in units of half the action range around its middle, so that the box is [-1, 1]^m. The linear mean
mu(s) = theta^T x may lie outside of it; what the policy then does is the point of the box that is nearest.

All are functions of the m numbers of one state, as lists: with a few actions NumPy's calls would cost more than they
compute, and so would a ``zip`` that compares lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul, sub


def clipped(mean: Sequence[float]) -> list[float]:
    """What the environment executes of a mean: the nearest point of the box [-1, 1]^m."""
    return [-1.0 if part < -1.0 else 1.0 if part > 1.0 else part for part in mean]


def deviation(action: Sequence[float], mean: Sequence[float]) -> list[float]:
    """A - mu(s), both as they are executed: the compatible features are grad_theta mu(s) (a - mu(s)).

    Args:
        action: [m] executed, in [-1, 1].
        mean: [m], outside of the box as well.
    """
    return list(map(sub, action, clipped(mean)))


def compatible_value(value: float, gradient: Sequence[float], deviations: Sequence[float]) -> float:
    """Q(s, a) = (a - mu(s))^T grad_theta mu(s)^T w + v.phi(s), equation 16 and section 4.3.

    Args:
        value: v.phi(s).
        gradient: [m] grad_theta mu(s)^T w.
        deviations: [m] a - mu(s).
    """
    return value + sum(map(mul, gradient, deviations))


def inward(gradient: Sequence[float], mean: Sequence[float]) -> list[float]:
    """grad_a Q at the executed mean, without what points out of the box.

    Beyond an edge all means do the same, so that the gradient in that direction is 0; towards the inside it is the
    one-sided derivative at the edge, by which a mean comes back.

    Args:
        gradient: [m] grad_a Q.
        mean: [m].
    """
    return list(map(_inward, gradient, mean))


def _inward(slope: float, part: float) -> float:
    return 0.0 if (part > 1.0 and slope > 0.0) or (part < -1.0 and slope < 0.0) else slope


def n_action_features(n_actions: int) -> int:
    """How many features ``action_features`` gives."""
    return n_actions + n_actions * (n_actions + 1) // 2


def action_features(action: Sequence[float]) -> list[float]:
    """Monomials of the action of degree 1 and 2: a_1 .. a_m, then a_i a_j for i <= j.

    With weights linear in the features of s they give a critic Q(s, a) that is not compatible, but has a slope and a
    curvature in a; exact for linear-quadratic problems.
    """
    m = len(action)
    return [*action, *(action[i] * action[j] for i in range(m) for j in range(i, m))]


def action_gradient(weights: Sequence[float], action: Sequence[float]) -> list[float]:
    """[m] gradient of weights . action_features(a) with respect to a.

    Args:
        weights: [n_action_features].
        action: [m] where it is taken.
    """
    m = len(action)
    gradient = list(weights[:m])
    k = m
    for i in range(m):
        for j in range(i, m):
            gradient[i] += weights[k] * action[j]
            gradient[j] += weights[k] * action[i]
            k += 1
    return gradient
