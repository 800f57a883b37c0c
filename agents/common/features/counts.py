"""Arguments that count something."""

from __future__ import annotations

import operator
from typing import Any


def whole(given: Any, least: int, name: str, advice: str, all_given: Any = None) -> int:
    """A count as an integer of Python, which has no largest one.

    Args:
        given: the count.
        least: the smallest that is allowed.
        name: of the argument.
        advice: what to do, the end of the error's sentence.
        all_given: what the user gave, where this is one of several.

    Raises:
        ValueError: no integer, or less than ``least``.
    """
    try:
        count = operator.index(given)
    except TypeError:
        count = least - 1
    if count < least:
        shown = given if all_given is None else all_given
        raise ValueError(f"{name}={shown!r}, but it must be a whole number, at least {least}; {advice}.")
    return count
