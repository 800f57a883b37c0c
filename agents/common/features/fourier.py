"""Fourier cosine basis: Konidaris, Osentoski and Thomas (2011)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from agents.common.features.base import FeatureMap
from agents.common.features.bounds import box_dimension, finite_bounds
from agents.common.features.counts import whole
from agents.common.features.grid import counting


class FourierBasis(FeatureMap):
    """x_c(s) = cos(pi c . s'), s' the observation scaled to [0, 1], c every vector of integers in 0..order.

    The first feature (c = 0) is constant. The paper divides each feature's step size by the norm of its c;
    ``step_size_scales`` holds those factors for whoever wants them.

    Args:
        observation_space: a Box.
        order: highest frequency along each dimension, in half waves.
        low, high: bounds that replace those of the space; needed where it has none.

    Raises:
        ValueError: not a Box, no finite bounds, order no whole number or below 0, or more features than there is
            room for: there are (order + 1)^d (see ``agents.common.features.room``).
    """

    remedy: ClassVar[str] = (
        'use a lower order, an observation of fewer dimensions, features="polynomial" with a low order, or a deep '
        "policy"
    )

    def __init__(
        self,
        observation_space: spaces.Space,
        order: int = 3,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
    ) -> None:
        dimension = box_dimension(observation_space, "The Fourier basis")
        assert isinstance(observation_space, spaces.Box)
        self.order = whole(order, 0, "order", "3 is the usual choice")
        self.low, self.high = finite_bounds(observation_space, low, high, "The Fourier basis")
        self.n_features = (self.order + 1) ** dimension
        self.require_room(dimension, "coefficients")
        self.coefficients = counting(self.order + 1, dimension).astype(np.float64)
        norms = np.linalg.norm(self.coefficients, axis=1)
        self.step_size_scales = 1.0 / np.where(norms == 0.0, 1.0, norms)

    @property
    def described(self) -> str:
        """The order and the dimension."""
        return f"The Fourier basis with order={self.order} in {self.low.size} dimensions"

    def __call__(self, observation: ArrayLike) -> NDArray[np.float64]:
        """[n_features] values in [-1, 1]."""
        values = np.asarray(observation, dtype=np.float64).ravel()
        scaled = np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)
        return np.cos(np.pi * (self.coefficients @ scaled))
