"""DPG written down once more, slowly, straight from Silver et al. (2014), with every Jacobian spelled out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.agents.dpg.toys import scaled
from tests.agents.off_pac.tape import Transition


def transcribed(
    steps: list[list[Transition]],
    features: Any,
    n_features: int,
    variant: str,
    *,
    alpha_theta: float,
    alpha_w: float,
    alpha_v: float,
    alpha_u: float = 0.0,
    gamma: float = 0.9,
    natural_gradient: bool = False,
    full_gq: bool = False,
    next_action: Any = None,
) -> dict[str, np.ndarray]:
    """theta, v, w (and u) after learning from a tape of two-dimensional actions.

    Args:
        steps: the tape; actions in environment units, as executed.
        features: observation -> dense vector.
        n_features: its length.
        variant, natural_gradient, full_gq, gamma: as DPG's.
        alpha_theta, alpha_w, alpha_v, alpha_u: step sizes.
        next_action: (transition, mu(s')) -> a' in [-1, 1], for the on-policy variant.
    """
    m = 2
    compatible = variant.startswith("copdac")
    size = n_features * m
    theta, v = np.zeros(size), np.zeros(n_features)
    w = np.zeros(size if compatible else n_features * 5)
    u = np.zeros(size + n_features if full_gq else size)

    def jacobian(x: np.ndarray) -> np.ndarray:
        """grad_theta mu(s), [size, m]; theta holds the m columns one after the other."""
        return np.kron(np.eye(m), x[:, None])

    def mean(x: np.ndarray) -> np.ndarray:
        return jacobian(x).T @ theta

    def polynomial(x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Features of (s, a) of the critic that is not compatible."""
        return np.kron(np.array([a[0], a[1], a[0] * a[0], a[0] * a[1], a[1] * a[1]]), x)

    for entries in steps:
        changes = [np.zeros_like(part) for part in (theta, v, w, u)]
        for t in entries:
            x, next_x = features(t.observation), features(t.next_observation)
            a, discount = scaled(t.action), 0.0 if t.terminated else gamma
            gradient, executed = jacobian(x), np.clip(mean(x), -1.0, 1.0)
            if compatible:
                phi = gradient @ (a - executed)
                delta = t.reward + discount * (v @ next_x) - (phi @ w + v @ x)
                slope = gradient.T @ w
            else:
                phi = polynomial(x, a)
                following = np.clip(mean(next_x), -1.0, 1.0)
                chosen = next_action(t, following) if variant == "on-policy" else following
                delta = t.reward + discount * (polynomial(next_x, chosen) @ w + v @ next_x) - (phi @ w + v @ x)
                steepness = 1e-6
                slope = np.array(
                    [
                        (polynomial(x, executed + e) - polynomial(x, executed - e)) @ w / (2.0 * steepness)
                        for e in steepness * np.eye(m)
                    ]
                )
            outward = (np.abs(mean(x)) > 1.0) & (np.sign(slope) == np.sign(mean(x)))
            changes[0] += alpha_theta * (w if natural_gradient else gradient @ np.where(outward, 0.0, slope))
            changes[1] += alpha_v * delta * x
            changes[2] += alpha_w * delta * phi
            if variant == "copdac-gq":
                f = np.concatenate([phi, x]) if full_gq else phi
                changes[1] -= alpha_v * discount * (f @ u) * next_x
                changes[3] += alpha_u * (delta - f @ u) * f
        theta, v, w, u = (part + change for part, change in zip((theta, v, w, u), changes, strict=True))
    columns = {"theta": theta.reshape(m, -1).T, "v": v, "w": w.reshape(-1, n_features).T}
    return {**columns, "u": u.reshape(-1, n_features).T} if variant == "copdac-gq" else columns
