"""An eligibility trace that keeps only the features it has touched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Old entries only shrink relative to new ones, as every ratio multiplies all of them alike: what has fallen this far
# below the largest of its column is under the rounding of a float64 sum and will stay there.
_NEGLIGIBLE = 1e-17


class CompactTrace:
    """Rows e[feature, :] of a trace for the features where it is not negligible.

    Args:
        n_features: length of the full trace.
        n_columns: numbers in each row.
        n_active: features that are active at once.
    """

    def __init__(self, n_features: int, n_columns: int, n_active: int) -> None:
        self._position = np.full(n_features, -1, dtype=np.intp)
        self._smallest_limit = 8 * n_active
        self._limit = self._smallest_limit
        self._support = np.zeros(2 * self._limit, dtype=np.intp)
        self._rows = np.zeros((2 * self._limit, n_columns))
        self._count = 0

    @property
    def support(self) -> NDArray[np.intp]:
        """[m] features, in the order they were first touched."""
        return self._support[: self._count]

    @property
    def rows(self) -> FloatArray:
        """[m, n_columns], a view."""
        return self._rows[: self._count]

    def accumulate(self, x: NDArray[np.intp], row: FloatArray, rho: float, decay: float) -> None:
        """E <- rho (x row^T + decay e) for binary features.

        Args:
            x: [n_active] indices of the features that are 1, all different.
            row: [n_columns] gradient of an active feature.
            rho: importance ratio.
            decay: gamma lambda.
        """
        if rho == 0.0:
            self.clear()
            return
        self._rows[: self._count] *= rho * decay
        positions = self._position.take(x)
        new = x[positions < 0]
        if new.size:
            self._append(new)
            positions = self._position.take(x)
        self._rows[positions] += rho * row
        if self._count > self._limit:
            self._prune()

    def clear(self) -> None:
        """E = 0."""
        self._position[self.support] = -1
        self._count = 0

    def read(self, dense: FloatArray) -> None:
        """Take over a full trace, [n_features, n_columns]."""
        self.clear()
        features = np.flatnonzero(dense.any(axis=1))
        self._append(features)
        self.rows[...] = dense[features]
        self._limit = max(2 * self._count, self._smallest_limit)

    def _append(self, features: NDArray[np.intp]) -> None:
        count = self._count + features.size
        if count > len(self._support):
            room = max(2 * len(self._support), count)
            self._support = np.resize(self._support, room)
            self._rows = np.concatenate([self._rows, np.zeros((room - len(self._rows), self._rows.shape[1]))])
        self._support[self._count : count] = features
        self._rows[self._count : count] = 0.0
        self._position[features] = np.arange(self._count, count)
        self._count = count

    def _prune(self) -> None:
        magnitudes = np.abs(self.rows)
        kept = (magnitudes > _NEGLIGIBLE * magnitudes.max(axis=0)).any(axis=1)
        support, rows = self.support[kept], self.rows[kept]
        self.clear()
        self._count = len(support)
        self.support[...] = support
        self.rows[...] = rows
        self._position[support] = np.arange(self._count)
        self._limit = max(2 * self._count, self._smallest_limit)
