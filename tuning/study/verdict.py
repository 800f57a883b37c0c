"""Whether the winner is better than the default: pure functions of scores, and the sentence that says it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuning import statistics

NEITHER = 0.5  # probability of improvement where both are equal


@dataclass(frozen=True)
class Verdict:
    """The comparison of the winner with the default on seeds that neither was chosen on.

    Attributes:
        sentence: all of it in words.
        probability: that a run of the winner scores better than one of the default; NaN if there is nothing to compare.
        low, high: its 95 % bootstrap interval.
        n_winner, n_default: runs on either side; failed ones are among them and lose against every other.
        failed_winner, failed_default: how many of them failed.
    """

    sentence: str
    probability: float
    low: float
    high: float
    n_winner: int
    n_default: int
    failed_winner: int = 0
    failed_default: int = 0

    def to_data(self) -> dict[str, Any]:
        """For a JSON file, which has no NaN."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def judge(winner: Sequence[float | None], default: Sequence[float | None], *, maximize: bool = True) -> Verdict:
    """Compare two configurations by the scores of their test runs.

    Args:
        winner: one score a run; None for a run that failed, which counts as worse than any other.
        default: likewise.
        maximize: whether a higher score is better.

    Returns:
        The probability of improvement with its interval. The winner counts as better only if the whole interval lies
        above 0.5.
    """
    x, y = (_comparable(scores, maximize) for scores in (winner, default))
    probability = statistics.probability_of_improvement(x, y)
    low, high, _ = statistics.improvement_interval([(x, y)])
    failed = sum(score is None for score in winner), sum(score is None for score in default)
    interval = f"{probability:.2f} [{low:.2f}, {high:.2f}], {_seeds(len(x), len(y))}{_failures(*failed)}"
    if low > NEITHER:
        sentence = f"better than the default with probability {interval}"
    elif high < NEITHER:
        sentence = f"worse than the default: better than it with probability {interval}"
    else:
        sentence = f"not shown to be better than the default: better with probability {interval}"
    return Verdict(sentence, probability, low, high, len(x), len(y), *failed)


def default_won(n_trials: int) -> Verdict:
    """What there is to say where the default itself won the race.

    Args:
        n_trials: of the search.
    """
    nan = math.nan
    return Verdict(f"the default itself won the race: none of {n_trials} trials was better", nan, nan, nan, 0, 0)


def _comparable(scores: Sequence[float | None], maximize: bool) -> list[float]:
    """Higher is better, and failed is worst."""
    sign = 1.0 if maximize else -1.0
    return [-math.inf if score is None else sign * score for score in scores]


def _seeds(n_winner: int, n_default: int) -> str:
    return f"{n_winner} seeds" if n_winner == n_default else f"{n_winner} and {n_default} seeds"


def _failures(winner: int, default: int) -> str:
    parts = [f"{n} of the {whose} failed" for n, whose in ((winner, "winner's"), (default, "default's")) if n]
    return f" ({', '.join(parts)})" if parts else ""
