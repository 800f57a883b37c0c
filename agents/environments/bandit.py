"""The continuous bandit of the deterministic policy gradient paper: a quadratic cost around an unknown action."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

OPTIMUM = 4.0
LARGE, SMALL = 1.0, 0.1
REACH = 10.0

FloatArray = NDArray[np.float64]


def cost_matrix(n_dims: int, generator: np.random.Generator) -> FloatArray:
    """C [n_dims, n_dims]: positive definite, eigenvalues 1 and 0.1 (half and half, a spare one is 1), random basis.

    The basis comes from the QR decomposition of a normal matrix: uniform up to signs, which C does not show.
    """
    normal = generator.standard_normal((n_dims, n_dims))
    basis, _ = np.linalg.qr(normal)
    n_small = n_dims // 2
    eigenvalues = np.concatenate([np.full(n_dims - n_small, LARGE), np.full(n_small, SMALL)])
    matrix = (basis * eigenvalues) @ basis.T
    return (matrix + matrix.T) / 2.0


def cost(matrix: FloatArray, actions: FloatArray) -> FloatArray:
    """(a - a*)^T C (a - a*) with a* = (4, ..., 4).

    Args:
        matrix: C [n_dims, n_dims].
        actions: [..., n_dims].

    Returns:
        [...], one cost for each action.
    """
    away = actions - OPTIMUM
    return np.einsum("...i,ij,...j->...", away, matrix, away)


class ContinuousBandit(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One step, one reward: minus (a - a*)^T C (a - a*), a* = (4, ..., 4).

    Silver et al. (2014), section 5.1: C is positive definite with eigenvalues 1 and 0.1, here in a random basis. A
    reset with a seed draws C from that seed; further resets keep it, so that one run is one problem. The paper's
    actions are unbounded; our action space is [-10, 10]^m, and actions outside are taken as they are.

    Observation: the constant (1,) as float32. Action: [n_dims]. ``info["cost"]`` is minus the reward.

    Args:
        n_dims: m, entries of an action; the paper has 10, 25 and 50.

    Raises:
        ValueError: n_dims is less than 1.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (the base class declares an instance attribute)

    def __init__(self, n_dims: int = 10) -> None:
        if n_dims < 1:
            raise ValueError(f"n_dims={n_dims}, but an action needs at least one entry; the paper has 10, 25 and 50.")
        self.n_dims = n_dims
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-REACH, REACH, (n_dims,), np.float32)
        self._matrix: FloatArray | None = None

    @property
    def matrix(self) -> FloatArray:
        """C [n_dims, n_dims] of this problem.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self._matrix is None:
            raise gym.error.ResetNeeded(
                "The bandit has no cost matrix yet; call reset first, with the seed that draws it."
            )
        return self._matrix

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin another one-step episode of the same problem, or with a seed, of that seed's problem."""
        super().reset(seed=seed)
        if seed is not None or self._matrix is None:
            self._matrix = cost_matrix(self.n_dims, self.np_random)
        return np.ones(1, dtype=np.float32), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Pay for the action; every episode ends here."""
        paid = float(cost(self.matrix, np.asarray(action, dtype=np.float64)))
        return np.ones(1, dtype=np.float32), -paid, True, False, {"cost": paid}
