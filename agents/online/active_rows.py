"""The rows of a weight table that a step on binary features touches: their sum, and changes of them.

``table[x].sum(axis=0)`` and ``table[x] += row`` would do. For a dozen short rows NumPy spends most of their time on
preparing a loop: over rows behind indices, over a row that meets a matrix, over an axis to be reduced. Each has a way
around it here, and together they take half the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class ActiveRows:
    """Reads and changes a few rows of a table at a time, given by indices that are all different.

    Args:
        table: [n_features, n_columns] float64 with its rows one behind the other, changed in place.
    """

    def __init__(self, table: FloatArray) -> None:
        self.table = table
        # With a row as a single element, indices copy whole rows.
        self._row_type = np.dtype((np.void, table.itemsize * table.shape[1]))
        self._as_elements = table.view(self._row_type)[:, 0]
        self._make_room(1)

    def _make_room(self, n_active: int) -> None:
        self._n_active = n_active
        self._ones = np.ones(n_active)
        self._found = np.empty((n_active, self.table.shape[1]))
        self._repeated = np.empty_like(self._found)
        self._found_elements = self._found.view(self._row_type)[:, 0]

    def total(self, x: NDArray) -> list[float]:
        """[n_columns] sum of the rows x."""
        if len(x) != self._n_active:
            self._make_room(len(x))
        # A product with ones, as np.sum takes more than twice as long to begin.
        totals: list[float] = self._ones.dot(self.table.take(x, 0)).tolist()
        return totals

    def total_of(self, column: FloatArray, x: NDArray) -> float:
        """Sum of the entries x of one column, a view of the table."""
        if len(x) != self._n_active:
            self._make_room(len(x))
        return float(self._ones.dot(column[x]))

    def add(self, x: NDArray, row: Sequence[float]) -> None:
        """Add one row to each of the rows x."""
        if len(x) != self._n_active:
            self._make_room(len(x))
        # "wrap" only because NumPy would copy once more to check the indices first; put checks them.
        self.table.take(x, 0, self._found, "wrap")
        self._repeated[:] = row
        self._found += self._repeated
        self._as_elements.put(x, self._found_elements)

    def add_each(self, x: NDArray, rows: FloatArray) -> None:
        """Add [m, n_columns] to the m rows x, any number of them."""
        found = self.table.take(x, 0)
        found += rows
        self._as_elements.put(x, found.view(self._row_type))
