"""Regular grids of integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def counting(base: int, digits: int) -> NDArray[np.int64]:
    """[base^digits, digits] every vector of integers in 0..base-1, in the order of counting: the last digit fastest.

    ``itertools.product`` gives the same, but its tuples take many times the memory of the array.
    """
    places = base ** np.arange(digits - 1, -1, -1)
    return np.arange(base**digits)[:, None] // places % base
