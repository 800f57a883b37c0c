"""What the learners of Box actions ask of the space."""

from __future__ import annotations

from gymnasium import spaces


def check_floats(space: spaces.Box) -> None:
    """Refuse a Box of integers.

    Raises:
        AssertionError: says what would go wrong, and how to wrap the environment.
    """
    assert space.dtype is not None
    assert space.dtype.kind == "f", (
        f"The algorithm only supports Box of floats as action space but {space} was provided: the fraction that "
        f"{space.dtype} cuts off would be learned from although it was never executed. Let a wrapper round instead "
        "(gymnasium.wrappers.TransformAction with a Box of float32 as its action_space)."
    )
