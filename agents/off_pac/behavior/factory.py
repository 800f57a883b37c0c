"""From the argument ``behavior_policy`` to a behavior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from agents.off_pac.behavior.base import Behavior
from agents.off_pac.behavior.callables import ContinuousCallable, DiscreteCallable
from agents.off_pac.behavior.mixture import ContinuousMixture, DiscreteMixture
from agents.off_pac.behavior.models import ContinuousModel, DiscreteModel

BehaviorPolicy = str | float | BaseAlgorithm | BasePolicy | Callable[..., Any]

_SHARES = {"uniform": 1.0, "target": 0.0}


def make_behavior(given: BehaviorPolicy, action_space: spaces.Space) -> Behavior:
    """The behavior that an argument stands for.

    Args:
        given: "uniform", "target", the uniform share of a mixture in (0, 1], an SB3 model or policy with a density, or
            a callable of the observations.
        action_space: the environment's.

    Raises:
        ValueError: an unknown name, a share out of range, or a model without a density.
        TypeError: something else was given.
    """
    if isinstance(given, BaseAlgorithm | BasePolicy):
        if isinstance(action_space, spaces.Discrete):
            return DiscreteModel(given, action_space)
        assert isinstance(action_space, spaces.Box)
        return ContinuousModel(given, action_space)
    if isinstance(given, str):
        if given not in _SHARES:
            raise ValueError(
                f'behavior_policy={given!r}, but the known names are "uniform" and "target"; else pass a number in '
                f"(0, 1], "
                "a model, a policy or a callable."
            )
        return _mixture(action_space, _SHARES[given])
    if isinstance(given, float | int | np.floating) and not isinstance(given, bool):
        if not 0.0 < given <= 1.0:
            raise ValueError(
                f"behavior_policy={given}, but the uniform policy's share must lie in (0, 1]; for none of it write "
                '"target".'
            )
        return _mixture(action_space, float(given))
    if callable(given):
        if isinstance(action_space, spaces.Discrete):
            return DiscreteCallable(given, int(action_space.n))
        return ContinuousCallable(given, int(np.prod(action_space.shape)))  # type: ignore[arg-type]
    raise TypeError(
        f'behavior_policy={given!r} is a {type(given).__name__}, but it must be "uniform", "target", a number in '
        f"(0, 1], an "
        "SB3 model or policy, or a callable of the observations."
    )


def _mixture(action_space: spaces.Space, share: float) -> Behavior:
    if isinstance(action_space, spaces.Discrete):
        return DiscreteMixture(int(action_space.n), share)
    assert isinstance(action_space, spaces.Box)
    return ContinuousMixture(action_space, share)
