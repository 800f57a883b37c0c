"""Memory for batches of one size, so that an environment step allocates none and broadcasts nothing.

NumPy combines two arrays of one shape about three times faster than a matrix with a row, where both are small: mean and
scale are therefore also kept as rows of the batch's shape. For a batch of one they are views; in large batches, where
moving memory is what costs, they are views as well.
"""

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

_TILED_UP_TO = 4096  # numbers in a batch


class WorkArrays:
    """Arrays for batches of n samples of one size.

    Args:
        n: samples in a batch.
        mean: [size], changed only in place.
        scale: [size], changed only in place.

    Attributes:
        mean: [n, size], the mean in every row; a copy where `tiled`, to be renewed when the mean has changed.
        scale: [n, size], likewise.
        tiled: whether `mean` and `scale` are copies.
        mean_version: version of the statistics that `mean` was copied from.
        scale_is_current: whether `scale` is.
        ones: [n].
        ones_and_line: [2, n], ones above `line`: one product gives a line's sum and its sum of squares.
        line: [n], a view.
        rows: [n, size], the batch.
        deviations: [n, size], from the mean before the batch.
        first: [size], a view of the first deviations.
        centered: [n, size], deviations from the mean after the batch.
        sums: [size].
    """

    def __init__(self, n: int, mean: Float64Array, scale: Float64Array) -> None:
        size = len(mean)
        self.n = n
        self.ones = np.ones(n)
        self.ones_and_line = np.ones((2, n))
        self.line = self.ones_and_line[1]
        self.rows = np.empty((n, size))
        self.deviations = np.empty((n, size))
        self.first = self.deviations[0] if n else np.empty(size)
        self.centered = np.empty((n, size))
        self.sums = np.empty(size)
        self.tiled = 1 < n <= _TILED_UP_TO // max(1, size)
        self.mean_version = -1
        self.scale_is_current = False
        if self.tiled:
            self.mean, self.scale = np.empty((n, size)), np.empty((n, size))
        elif n == 1:
            self.mean, self.scale = mean.reshape(1, size), scale.reshape(1, size)
        else:
            self.mean, self.scale = np.broadcast_to(mean, (n, size)), np.broadcast_to(scale, (n, size))

    def tile_mean(self, mean: Float64Array, version: int) -> None:
        """Renew the copies of the mean."""
        self.mean[...] = mean
        self.mean_version = version

    def tile_scale(self, scale: Float64Array) -> None:
        """Renew the copies of the scale."""
        self.scale[...] = scale
        self.scale_is_current = True
