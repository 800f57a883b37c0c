"""Increments of the gradient-TD critics, as functions of dense vectors.

GTD(lambda): Maei (2011), the critic of Degris, White and Sutton (2012), Algorithm 1. TDRC: Ghiassian, Patterson, Garg,
Gupta, White and White (2020), "Gradient Temporal-Difference Learning with Regularized Corrections".

Names: v value weights, w secondary weights, x and x' the features of s and s', e the critic's trace (which carries the
importance ratio), discount gamma' = gamma(s'): 0 at termination, gamma otherwise and at truncation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def td_error(reward: float, discount: float, next_value: float, value: float) -> float:
    """The TD error, delta = r + gamma' v.x' - v.x (Degris et al., 2012, Algorithm 1)."""
    return reward + discount * next_value - value


def value_increment(
    delta: float, trace: Vector, correlation: float, next_features: Vector, discount: float, trace_decay: float
) -> Vector:
    """Of the value weights: delta e - gamma' (1 - lambda) (w.e) x', to be scaled by alpha_v.

    The correction carries x', the features of the *next* state; with x in its place the update still learns easy tasks
    and fails on Baird's counterexample.

    Args:
        delta: TD error.
        trace: e, [n_features].
        correlation: w.e.
        next_features: x', [n_features].
        discount: gamma'.
        trace_decay: lambda.
    """
    return delta * trace - (discount * (1.0 - trace_decay) * correlation) * next_features


def secondary_increment(
    delta: float,
    trace: Vector,
    expected: float,
    features: Vector,
    secondary: Vector | None = None,
    regularization: float = 0.0,
) -> Vector:
    """Of the secondary weights: delta e - (w.x) x - beta w, to be scaled by alpha_w.

    beta = 0 is GTD(lambda), beta = 1 is TDRC.

    Args:
        delta: TD error.
        trace: e, [n_features].
        expected: w.x.
        features: x, [n_features].
        secondary: w, [n_features]; only needed with a regularization.
        regularization: beta.
    """
    increment = delta * trace - expected * features
    if regularization:
        assert secondary is not None
        increment -= regularization * secondary
    return increment
