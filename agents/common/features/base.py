"""What every feature map offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.common.features.room import in_words, require_room


class FeatureMap(ABC):
    """A fixed function x(s) from an observation to ``n_features`` numbers.

    A *sparse* map is binary: called with an observation it returns the indices of the ``n_active`` features that are 1,
    all different. A *dense* map returns the vector itself.

    Attributes:
        sparse: what a call returns: indices (True) or the vector (False).
        n_features: length of the vector.
        n_active: how many features a sparse map switches on at once; 1 for a dense map. Step sizes are divided by it.
        remedy: what to do where the map is too large.
    """

    sparse: ClassVar[bool] = False
    n_features: int
    n_active: int = 1
    remedy: ClassVar[str] = "use a smaller feature map"

    @property
    def described(self) -> str:
        """The map with what its size depends on, for errors."""
        return type(self).__name__

    def require_room(self, numbers_each: int, what: str) -> None:
        """Refuse the map where so many numbers for each feature are too many.

        Args:
            numbers_each: how many.
            what: what they are.

        Raises:
            ValueError: names the map, its size and what to do.
        """
        features = f"{self.described} makes {in_words(self.n_features)} features, and {numbers_each} {what} for each"
        require_room(self.n_features * numbers_each, features, self.remedy)

    @abstractmethod
    def __call__(self, observation: ArrayLike) -> NDArray:
        """Features of one observation.

        Args:
            observation: without a batch dimension.

        Returns:
            [n_active] integer indices of a sparse map, [n_features] float64 of a dense one.
        """

    def batch(self, observations: ArrayLike) -> NDArray:
        """Calls stacked over the first axis: [n, n_active] indices or [n, n_features] numbers."""
        return np.stack([self(observation) for observation in np.asarray(observations)])

    def dense(self, observations: ArrayLike) -> NDArray[np.float64]:
        """The vectors themselves, [n, n_features], whatever the kind of the map."""
        features = self.batch(observations)
        if not self.sparse:
            return features
        vectors = np.zeros((len(features), self.n_features))
        np.put_along_axis(vectors, features, 1.0, axis=1)
        return vectors
