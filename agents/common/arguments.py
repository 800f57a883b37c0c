"""Checks of constructor arguments; every message says what was given, what is allowed and what to do."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.policies import BasePolicy

LARGEST_SEED = 2**32 - 1  # NumPy's legacy generator, which SB3 seeds, takes no larger one
SCHEDULES_GIVE_RATES = "a schedule gives the rate for the remaining progress"


def check_whole(name: str, value: Any, least: int, most: float = math.inf) -> None:
    """Refuse what is no whole number between two.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        allowed = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r}, but it must be a whole number {allowed}.")


def check_verbose(value: Any) -> None:
    """Refuse what is no level of verbosity; True and False are SB3's 1 and 0.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, bool):
        check_whole("verbose", value, 0)


def check_number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    infinite: bool = False,
    remedy: str = "",
) -> None:
    """Refuse what is no number in an interval; NaN is in none.

    Args:
        name: of the argument.
        value: given.
        low: smallest value allowed.
        high: largest value allowed.
        above: whether ``low`` itself is not allowed.
        below: whether ``high`` itself is not allowed.
        infinite: whether an infinite number is allowed, where the interval has no end.
        remedy: what to do instead, as a clause.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        number = float(value)
        inside = (number > low if above else number >= low) and (number < high if below else number <= high)
        if inside and (infinite or math.isfinite(number)):
            return
    if math.isfinite(low) and math.isfinite(high):
        allowed = f"a number in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
    elif math.isfinite(low):
        kind = "" if infinite else "finite "
        allowed = f"a {kind}positive number" if above and low == 0.0 else f"a {kind}number of at least {low:g}"
    else:
        allowed = "a finite number"
    raise ValueError(f"{name}={value!r}, but it must be {allowed}{'; ' + remedy if remedy else ''}.")


def check_learning_rate(value: Any) -> None:
    """Refuse what is neither a rate nor a schedule of rates.

    Raises:
        ValueError: it is not, or the schedule does not give one for the whole progress that remains, 1.
    """
    if not callable(value):
        check_number(
            "learning_rate", value, 0.0, remedy="a schedule is a callable of the remaining progress, from 1 to 0"
        )
        return
    try:
        first = value(1.0)
    except TypeError as error:
        raise ValueError(
            f"learning_rate={value!r} cannot be called with the remaining progress ({error}), but a schedule must be; "
            "write lambda progress_remaining: progress_remaining * 7e-4."
        ) from error
    check_number("learning_rate(1.0)", first, 0.0, remedy=SCHEDULES_GIVE_RATES)


def check_policy(policy: Any, aliases: Mapping[str, type[BasePolicy]], kinds: tuple[type[BasePolicy], ...]) -> None:
    """Refuse what is neither an alias nor a class of the kind of policy that the method learns.

    Raises:
        ValueError: an unknown alias.
        TypeError: something else, or a class of another kind.
    """
    allowed = f"one of {', '.join(map(repr, aliases))}, or a subclass of {' or '.join(kind.__name__ for kind in kinds)}"
    if isinstance(policy, str):
        if policy not in aliases:
            raise ValueError(f"Policy {policy!r} unknown; it must be {allowed}.")
    elif not (inspect.isclass(policy) and issubclass(policy, kinds)):
        shown = policy.__name__ if inspect.isclass(policy) else repr(policy)
        raise TypeError(f"policy={shown}, but it must be {allowed}.")
