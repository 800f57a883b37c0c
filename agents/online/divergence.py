"""Telling weights that have grown beyond all use from an environment that gives no numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LIMIT = 1e100
"""Beyond this no task's value can lie, and squares are still far from the largest float."""


def magnitude(weights: NDArray[np.float64]) -> float:
    """Largest absolute value; infinite where one is NaN."""
    largest = float(np.max(np.abs(weights))) if weights.size else 0.0
    return math.inf if math.isnan(largest) else largest


def unusable_input(reward: float, outputs: Sequence[float] = ()) -> ValueError | None:
    """The error of an environment that gives NaN or infinity, if it does.

    Args:
        reward: r.
        outputs: what came of the observation's features with weights that are finite.
    """
    if not math.isfinite(reward):
        return ValueError(f"The environment gave the reward {reward}, but it must be finite; mend the environment.")
    if not all(math.isfinite(output) for output in outputs):
        return ValueError("The observation holds NaN or infinity, but features must be finite; mend the environment.")
    return None
