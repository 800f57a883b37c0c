"""Softmax over linear preferences: pi(a|s) proportional to exp(u_a . x), Degris, White and Sutton (2012), section 4."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp


def softmax(preferences: Sequence[float]) -> list[float]:
    """Probabilities of a few preferences, in plain Python: NumPy takes several times as long for a handful."""
    peak = max(preferences)
    weights = []
    total = 0.0
    for preference in preferences:
        weight = exp(preference - peak)
        weights.append(weight)
        total += weight
    return [weight / total for weight in weights]


def softmax_score(probabilities: Sequence[float], action: int) -> list[float]:
    """Gradient of log pi(action) with respect to the preferences: 1 for the action, minus the probabilities.

    psi = x_sa - sum_b pi(b|s) x_sb of the paper is this vector's outer product with x.
    """
    score = [-probability for probability in probabilities]
    score[action] += 1.0
    return score
