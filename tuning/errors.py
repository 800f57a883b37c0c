"""What can go wrong around a run, sorted by whose turn it is.

`UsageError` is for what the user can put right: the command line prints its one line and exits with 2, and nothing was
written or lost before it was raised (a missing optional package is `agents.errors.MissingExtraError` and means the
same). `TrainingFailed` is for a run that started and broke: exit code 1.
"""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Wrong input: one line that says what was given, what is allowed and what to do."""


class TrainingFailed(RuntimeError):  # noqa: N818 - reads as what happened, as in `except TrainingFailed`
    """A run started and broke. `__cause__` is the reason; the run folder's status.json holds its traceback."""


def nearest(given: str, allowed: Iterable[str], count: int = 3) -> list[str]:
    """The names in `allowed` most like `given`, best first, whatever the case; empty if none is alike."""
    by_lower = {name.lower(): name for name in allowed}
    return [by_lower[name] for name in difflib.get_close_matches(given.lower(), by_lower, n=count, cutoff=0.5)]


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """An ending for a message: the nearest names, or all of `allowed` where none is alike."""
    names = sorted(allowed)
    close = nearest(given, names)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"allowed: {', '.join(names)}" if names else "nothing is allowed here"
