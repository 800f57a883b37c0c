"""Polynomial basis: Sutton and Barto (2018), section 9.5.1."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from agents.common.features.base import FeatureMap
from agents.common.features.bounds import box_dimension, finite_bounds
from agents.common.features.counts import whole


class PolynomialBasis(FeatureMap):
    """x_c(s) = prod_d s'_d^(c_d), s' the observation scaled to [-1, 1].

    c runs over every vector of non-negative integers of total degree at most ``order``. The first feature (c = 0) is
    constant.

    Args:
        observation_space: a Box.
        order: highest total degree.
        low, high: bounds that replace those of the space; needed where it has none.

    Raises:
        ValueError: not a Box, no finite bounds, order no whole number or below 0, or more features than there is
            room for: there are (d + order)! / (d! order!) (see ``agents.common.features.room``).
    """

    remedy: ClassVar[str] = "use a lower order, an observation of fewer dimensions, or a deep policy"

    def __init__(
        self,
        observation_space: spaces.Space,
        order: int = 2,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
    ) -> None:
        dimension = box_dimension(observation_space, "The polynomial basis")
        assert isinstance(observation_space, spaces.Box)
        self.order = whole(order, 0, "order", "2 is the default")
        self.low, self.high = finite_bounds(observation_space, low, high, "The polynomial basis")
        self.n_features = math.comb(dimension + self.order, self.order)
        self.require_room(dimension, "exponents")
        self.exponents = _exponents(dimension, self.order)

    @property
    def described(self) -> str:
        """The order and the dimension."""
        return f"The polynomial basis with order={self.order} in {self.low.size} dimensions"

    def __call__(self, observation: ArrayLike) -> NDArray[np.float64]:
        """[n_features] values in [-1, 1]."""
        values = np.asarray(observation, dtype=np.float64).ravel()
        scaled = np.clip(2.0 * (values - self.low) / (self.high - self.low) - 1.0, -1.0, 1.0)
        return np.prod(scaled**self.exponents, axis=1)


def _exponents(dimension: int, order: int) -> NDArray[np.int64]:
    """[n_features, dimension] in the order of counting; made dimension by dimension, never more than there will be."""
    rows, left = np.zeros((1, 0), dtype=np.int64), np.array([order])
    for _ in range(dimension):
        counts = left + 1
        powers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.column_stack([np.repeat(rows, counts, axis=0), powers])
        left = np.repeat(left, counts) - powers
    return rows
