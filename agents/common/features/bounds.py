"""Bounds of an observation, from its space or from the user."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray


def box_dimension(space: spaces.Space, what: str) -> int:
    """Number of entries of a Box observation.

    Args:
        space: the observation space.
        what: name of the feature map, for the error.

    Raises:
        ValueError: the space is no Box, or one without entries.
    """
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"{what} got the observation space {space}, but it needs a Box; use one-hot features for discrete "
            "observations, or a wrapper such as gymnasium.wrappers.FlattenObservation that makes a Box of it."
        )
    if 0 in space.shape:
        raise ValueError(
            f"{what} got an observation space of the shape {space.shape}, but it needs at least one entry; correct the "
            "environment or its wrappers."
        )
    return int(np.prod(space.shape))


def finite_bounds(
    space: spaces.Box, low: ArrayLike | None, high: ArrayLike | None, what: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value of each entry of the flattened observation.

    Args:
        space: whose own bounds are used where the user gives none.
        low, high: the user's bounds, scalar or in the shape of the observation, flattened or not; None takes the
            space's.
        what: name of the feature map, for the error.

    Returns:
        Two float64 vectors of the observation's size.

    Raises:
        ValueError: a bound is infinite or of another shape, or a lower bound is not below its upper one.
    """
    lowest = _flat(space.low if low is None else low, space, "low", what)
    highest = _flat(space.high if high is None else high, space, "high", what)
    # Spaces write "no bound" as infinity or as the largest float32.
    huge = float(np.finfo(np.float32).max) * 0.999
    unbounded = [
        index for index in range(lowest.size) if not (-huge < lowest[index] < huge and -huge < highest[index] < huge)
    ]
    if unbounded:
        raise ValueError(
            f"{what} got no finite bounds for entry {', '.join(map(str, unbounded))} of the observation ({space}), "
            f"but it "
            "divides a finite range; give the range that matters, for example policy_kwargs=dict(low=[...], "
            "high=[...]) "
            f"with {lowest.size} numbers each. Observations outside are treated as if they lay on the edge."
        )
    if not np.all(lowest < highest):
        entry = int(np.argmin(lowest < highest))
        raise ValueError(
            f"{what} got low={lowest[entry]:g} and high={highest[entry]:g} for entry {entry} of the observation, "
            f"but low must "
            "be below high; correct low= and high=."
        )
    return lowest, highest


def _flat(given: ArrayLike, space: spaces.Box, name: str, what: str) -> NDArray[np.float64]:
    """[size] one bound for each entry of the flattened observation."""
    values = np.asarray(given, dtype=np.float64)
    size = int(np.prod(space.shape))
    if values.size == size:
        return values.ravel().copy()
    if values.size != 1:
        shaped = f" in the shape {space.shape}" if len(space.shape) > 1 else ""
        raise ValueError(
            f"{what} got {name}= of the shape {values.shape}, but the observation needs one number, or {size} "
            f"for its {size} entries{shaped}; correct {name}=."
        )
    return np.full(size, values.item())
