"""Checks of what online agents share with Stable-Baselines3's algorithms, before its constructor stumbles over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.policies import BasePolicy

from agents.common.arguments import LARGEST_SEED, check_number, check_policy, check_verbose, check_whole


def check_shared_arguments(
    policy: Any,
    aliases: Mapping[str, type[BasePolicy]],
    kinds: tuple[type[BasePolicy], ...],
    lacks_env: bool,
    numbers: Mapping[str, Any],
) -> None:
    """Refuse what no online agent can be made with.

    Args:
        policy: an alias or a class.
        aliases: what may stand for a class.
        kinds: classes of which the policy must be one.
        lacks_env: no environment was given, and none comes later, as it does with a file's model.
        numbers: ``verbose``, ``stats_window_size`` and ``seed``.

    Raises:
        ValueError: names the argument, what it may be, and what to do.
        TypeError: the policy is no such class.
    """
    check_policy(policy, aliases, kinds)
    if lacks_env:
        raise ValueError(
            "env=None, but the networks are built for an environment's spaces; give an environment, or load a model "
            "that has been saved."
        )
    check_verbose(numbers["verbose"])
    check_whole("stats_window_size", numbers["stats_window_size"], 1)
    if numbers["seed"] is not None:
        check_whole("seed", numbers["seed"], 0, LARGEST_SEED)


def check_step_size(name: str, value: Any) -> None:
    """Refuse what is neither a step size nor a schedule of step sizes; None stands for a default.

    Raises:
        ValueError: it is not.
    """
    if value is not None and not callable(value):
        check_number(
            name, value, 0.0, remedy="0.0 freezes its part, a schedule is a callable of the remaining progress"
        )


def check_bool(name: str, value: Any) -> None:
    """Refuse what only counts as true or false.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r}, but it must be True or False.")
