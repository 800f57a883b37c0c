"""What one worker has seen since it last reported, kept beside statistics that go on changing.

Rows are first only copied, and summed up a buffer at a time: a copy costs a tenth of an update, and a worker pays it
in every environment step.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from wrappers.running_statistics import RunningStatistics

BUFFER_FLOATS = 8192  # 64 KiB: stays in the processor's cache


class DeltaRecorder:
    """Collects rows and turns them into statistics when asked.

    Args:
        statistics: empty statistics without a prior, which take in the rows.
    """

    def __init__(self, statistics: "RunningStatistics") -> None:
        self._statistics = statistics
        size = max(1, np.prod(statistics.shape, dtype=int))
        # With decay the weight of a row depends on its batch, so batches must not be put together.
        capacity = BUFFER_FLOATS // size if statistics.decay == 1.0 else 0
        self._buffer = np.empty((capacity, size))
        self._filled = 0

    @property
    def n_samples(self) -> int:
        """Rows kept."""
        return self._statistics.n_samples + self._filled

    def add(self, rows: NDArray[np.float64]) -> None:
        """Keep rows [n, size], which were found finite."""
        end = self._filled + len(rows)
        if end > len(self._buffer):
            self.statistics()
            end = len(rows)
            if end > len(self._buffer):
                self._take_in(rows)
                return
        self._buffer[self._filled : end] = rows
        self._filled = end

    def statistics(self) -> "RunningStatistics":
        """Statistics of all rows kept."""
        if self._filled:
            self._take_in(self._buffer[: self._filled])
            self._filled = 0
        return self._statistics

    def take(self, successor: "RunningStatistics") -> "RunningStatistics":
        """Statistics of all rows kept; new rows go to `successor`."""
        taken = self.statistics()
        self._statistics = successor
        return taken

    def _take_in(self, rows: NDArray[np.float64]) -> None:
        self._statistics.update(rows.reshape(len(rows), *self._statistics.shape))
