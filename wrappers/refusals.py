"""Messages that several parts share: which number, where, what is allowed, what to do."""

from typing import NoReturn

import numpy as np


def refuse_numbers(name: str, batch: np.ndarray) -> NoReturn:
    """Say which number of a batch cannot be normalized.

    Args:
        name: what the samples are.
        batch: [n, *shape], with a number that is not finite or whose square overflows.

    Raises:
        ValueError: always.
    """
    bad = np.argwhere(~np.isfinite(batch))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"{name}: {batch[where]} in row {where[0]} of {len(batch)} (index {where[1:]}), but only finite numbers "
            "can be normalized; find its cause in the environment, SB3's VecCheckNan helps."
        )
    raise ValueError(
        f"{name}: numbers up to {np.abs(batch).max():.3g}, but squares above 1e308 overflow; "
        "rescale them in the environment."
    )


def refuse_shape(name: str, batch: np.ndarray, shape: tuple[int, ...]) -> NoReturn:
    """Say that samples of another shape were expected.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"{name}: a batch of shape {batch.shape}, but samples of shape {shape} are expected after the first axis; "
        "use the environment the statistics were made for."
    )
