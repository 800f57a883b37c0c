"""One feature for each value of a discrete observation: the tabular case."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from agents.common.features.base import FeatureMap


class OneHot(FeatureMap):
    """Index of the observation's value; for MultiDiscrete one index for each entry, in blocks one after the other.

    Args:
        observation_space: Discrete or MultiDiscrete; values may start anywhere.

    Raises:
        ValueError: another kind of space.
    """

    sparse: ClassVar[bool] = True

    def __init__(self, observation_space: spaces.Space) -> None:
        if isinstance(observation_space, spaces.Discrete):
            sizes = np.array([observation_space.n])
            starts = np.array([observation_space.start])
        elif isinstance(observation_space, spaces.MultiDiscrete):
            sizes = observation_space.nvec.ravel()
            starts = observation_space.start.ravel()
        else:
            raise ValueError(
                f"One-hot features got the observation space {observation_space}, but they need Discrete or "
                f"MultiDiscrete; "
                "use tile coding, Fourier or radial features for a Box."
            )
        self.n_features = int(sizes.sum())
        self.n_active = len(sizes)
        self._sizes = sizes.astype(np.intp)
        self._starts = starts.astype(np.intp)
        self._blocks = np.concatenate([[0], np.cumsum(self._sizes)[:-1]]).astype(np.intp)

    def __call__(self, observation: ArrayLike) -> NDArray[np.intp]:
        """[n_active] indices.

        Raises:
            ValueError: a value outside the space.
        """
        values = np.asarray(observation).reshape(-1).astype(np.intp) - self._starts
        if (values < 0).any() or (values >= self._sizes).any():
            raise ValueError(
                f"One-hot features got the observation {np.asarray(observation)}, but its values must lie in "
                f"{self._starts.tolist()} to {(self._starts + self._sizes - 1).tolist()}; give the space the "
                f"environment really uses."
            )
        return values + self._blocks
