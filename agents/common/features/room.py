"""Room for features, whose number is a power of the dimension of what they are features of.

The limit is a fixed one, so that what runs on one machine runs on the next: 4 GiB are half a billion numbers, more than
a linear agent visits in its life, and less than the memory of most machines.
"""

from __future__ import annotations

import math

MAX_BYTES = 4 * 2**30
"""What a feature map, or a table of weights on one, may take."""

_GIB = 2**30
_BYTES_EACH = 8


def require_room(numbers: int, described: str, remedy: str) -> None:
    """Refuse what takes more than ``MAX_BYTES``, before memory is asked for.

    Args:
        numbers: how many float64 or integers.
        described: what they are, the beginning of the error's sentence.
        remedy: what to do instead.

    Raises:
        ValueError: too many.
    """
    size = numbers * _BYTES_EACH
    if size > MAX_BYTES:
        raise ValueError(f"{described} take {in_gib(size)}, but at most {in_gib(MAX_BYTES)} are allowed; {remedy}.")


def in_gib(size: int) -> str:
    """A number of bytes in GiB."""
    return f"{size / _GIB:.1f} GiB" if size < 10**6 * _GIB else f"{in_words(size // _GIB)} GiB"


def in_words(count: int) -> str:
    """A count, which may be beyond what a float holds."""
    return f"{count:,}" if count < 10**15 else f"about 10^{math.floor(math.log10(count))}"
