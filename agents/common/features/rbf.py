"""Gaussian radial basis functions on a grid: Sutton and Barto (2018), section 9.5.5."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from agents.common.features.base import FeatureMap
from agents.common.features.bounds import box_dimension, finite_bounds
from agents.common.features.counts import whole
from agents.common.features.grid import counting

# In units of the box. Much narrower, and the square of the width is 0; much wider, and all functions are the same.
_NARROWEST, _WIDEST = 1e-9, 1e9


class RadialBasis(FeatureMap):
    """x_i(s) = exp(-||s' - c_i||^2 / (2 width^2)), s' the observation scaled to [0, 1], centers on a regular grid.

    Args:
        observation_space: a Box.
        n_centers: centers along each dimension, the outermost on the bounds.
        width: standard deviation in units of the scaled box; None is the distance of neighboring centers.
        normalized: divide by the sum over all functions, so that features add up to 1 everywhere.
        low, high: bounds that replace those of the space; needed where it has none.

    Raises:
        ValueError: not a Box, no finite bounds, n_centers no whole number or below 2, a width that tells nothing
            apart, or more functions than there is room for: there are n_centers^d (see
            ``agents.common.features.room``).
    """

    remedy: ClassVar[str] = (
        'use a smaller n_centers, an observation of fewer dimensions, features="polynomial" with a low order, or a '
        "deep policy"
    )

    def __init__(
        self,
        observation_space: spaces.Space,
        n_centers: int = 5,
        width: float | None = None,
        normalized: bool = True,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
    ) -> None:
        dimension = box_dimension(observation_space, "The radial basis")
        assert isinstance(observation_space, spaces.Box)
        self.n_centers = whole(n_centers, 2, "n_centers", "5 along each dimension is the default")
        if width is not None and not _NARROWEST <= width <= _WIDEST:
            raise ValueError(
                f"width={width}, but it must lie between {_NARROWEST:g} and {_WIDEST:g}; None takes the distance of "
                "neighboring centers."
            )
        self.width = 1.0 / (self.n_centers - 1) if width is None else float(width)
        self.low, self.high = finite_bounds(observation_space, low, high, "The radial basis")
        self.normalized = normalized
        self.n_features = self.n_centers**dimension
        self.require_room(dimension, "coordinates")
        self.centers = np.linspace(0.0, 1.0, self.n_centers)[counting(self.n_centers, dimension)]

    @property
    def described(self) -> str:
        """The centers along a dimension and the dimension."""
        return f"The radial basis with n_centers={self.n_centers} in {self.low.size} dimensions"

    def __call__(self, observation: ArrayLike) -> NDArray[np.float64]:
        """[n_features] values in [0, 1]."""
        values = np.asarray(observation, dtype=np.float64).ravel()
        scaled = np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)
        exponents = -np.square(self.centers - scaled).sum(axis=1) / (2.0 * self.width**2)
        if not self.normalized:
            return np.exp(exponents)
        # Shifted by the largest exponent: with narrow functions all of them could underflow to 0 between two centers.
        activations = np.exp(exponents - exponents.max())
        return activations / activations.sum()
