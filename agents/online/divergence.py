"""Telling weights that have grown beyond all use from an environment or a noise that gives no numbers."""

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


def unusable_input(reward: float, outputs: Sequence[float] = (), action: Sequence[float] = ()) -> ValueError | None:
    """The error of an environment or a noise that gives NaN or infinity, if one does.

    Args:
        reward: r.
        outputs: what came of the observations' features with weights that are finite.
        action: what came of such outputs and noise.
    """
    if not math.isfinite(reward):
        return ValueError(f"The environment gave the reward {reward}, but it must be finite; mend the environment.")
    if not all(math.isfinite(output) for output in outputs):
        return ValueError("The observation holds NaN or infinity, but features must be finite; mend the environment.")
    return unusable_noise(action)


def unusable_noise(action: Sequence[float]) -> ValueError | None:
    """The error of a noise that made an action NaN, if it did.

    Args:
        action: finite numbers plus noise.
    """
    if not any(math.isnan(part) for part in action):
        return None
    return ValueError(
        f"action_noise gave NaN (the action was to be {list(action)}), but noise must be finite; correct its mean and "
        "sigma."
    )
