"""Actions between [-1, 1] and a box: the affine map both action wrappers use."""

import numpy as np
from gymnasium import spaces

from wrappers.transforms import AnySpace


class ActionScale:
    """Maps [-1, 1] to the bounds of a box: low + (a + 1) / 2 (high - low).

    Args:
        space: the environment's action space.
        clip: whether actions outside [-1, 1] are moved to the nearest action inside; if not, they end up outside
            the environment's bounds.

    Attributes:
        space: Box(-1, 1) of the same shape, float32.

    Raises:
        ValueError: the space is no box of floating-point numbers with finite bounds.
    """

    def __init__(self, space: AnySpace, clip: bool = True) -> None:
        if isinstance(space, spaces.Dict | spaces.Tuple):
            raise ValueError(
                f"NormalizeAction got the composite action space {space}, but it takes a single Box; flatten the "
                "actions first (gymnasium.spaces.utils.flatten_space) or rescale them in the environment."
            )
        if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            raise ValueError(
                f"NormalizeAction got the action space {space}, but it takes a Box of floating-point numbers; "
                "other actions need no normalization, leave the wrapper out."
            )
        unbounded = ~(np.isfinite(space.low) & np.isfinite(space.high))
        if unbounded.any():
            raise ValueError(
                f"NormalizeAction got {space}, whose dimensions {np.argwhere(unbounded).tolist()} are unbounded, but "
                "[-1, 1] must lead to known bounds; give the environment bounds, for instance with "
                "gymnasium.wrappers.TransformAction(env, lambda action: action, action_space=Box(low, high))."
            )
        self.clip = clip
        self.space = spaces.Box(-1.0, 1.0, space.shape, np.float32)
        self._target = space
        self._low = space.low.astype(np.float64)
        self._half_span = (space.high.astype(np.float64) - self._low) / 2

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """Actions in [-1, 1], a single one or a batch of shape [n, *shape], in the environment's units and type."""
        if self.clip:
            action = np.clip(action, -1.0, 1.0)
        scaled = self._low + (np.asarray(action, dtype=np.float64) + 1.0) * self._half_span
        if self.clip:  # rounding may lead beyond a bound
            scaled = np.clip(scaled, self._target.low, self._target.high)
        return scaled.astype(self._target.dtype)
