"""Which spaces SB3's policies work in, and which policy fits a Dict; said before anything fails deep inside."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

_MULTI_INPUT = "MultiInput"


def check_spaces(policy: Any, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """Refuse spaces that no policy of SB3's works in, and an alias that does not fit them.

    Nested Dict spaces, infinite action boxes and action spaces that the method cannot act in are refused by SB3.

    Args:
        policy: alias or class; a class is trusted to fit.
        observation_space: of the environment.
        action_space: of the environment.

    Raises:
        ValueError: an observation space, or an alias for another kind of observations.
        AssertionError: an action space.
    """
    is_dict = isinstance(observation_space, spaces.Dict)
    parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
    for key, part in parts.items():
        if not (_is_supported(part) or (is_dict and isinstance(part, spaces.Dict | spaces.Tuple))):
            where = f"The observation space {_shown(part)}" + (f" at key {key!r}" if is_dict else "")
            raise ValueError(
                f"{where} is not supported, but only Box, Discrete and MultiDiscrete that count from 0, MultiBinary, "
                "or a Dict of these; wrap the environment with gymnasium.wrappers.FlattenObservation or "
                "TransformObservation."
            )
    if isinstance(policy, str) and (_MULTI_INPUT in policy) != is_dict:
        fitting = _with_multi_input(policy) if is_dict else policy.replace(_MULTI_INPUT, "Mlp")
        kind = "Dict" if is_dict else f"other than Dict ({type(observation_space).__name__})"
        raise ValueError(f"{policy!r} does not fit observations that are {kind}; use {fitting!r}.")
    if isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete) and not _is_supported(action_space):
        raise AssertionError(
            f"The action space {_shown(action_space)} is not supported, but only one that counts from 0 and has at "
            "most one dimension; wrap the environment with gymnasium.wrappers.TransformAction."
        )


def _is_supported(space: spaces.Space[Any]) -> bool:
    if isinstance(space, spaces.Discrete):
        return bool(space.start == 0)
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ndim == 1 and not space.start.any()
    return isinstance(space, spaces.Box | spaces.MultiBinary)


def _shown(space: spaces.Space[Any]) -> str:
    return " ".join(str(space).split())  # in one line


def _with_multi_input(alias: str) -> str:
    return alias.replace("Mlp", _MULTI_INPUT).replace("Cnn", _MULTI_INPUT)
