"""A line for each trial of a search that has ended."""

import sys
from collections.abc import Sequence
from typing import TextIO

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuning.study import attributes
from tuning.study.watching import StudyWatcher


class TrialLines(StudyWatcher):
    """Says how each trial ended: its value, that it was pruned, or why it failed.

    Args:
        stream: where to write; stderr by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._told: set[int] = set()

    def died(self, index: int, cause: str) -> None:
        """Say so."""
        self._print(f"worker {index} died: {cause}")

    def progressed(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        """Tell of the trials that have ended since."""
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self._told:
                self._told.add(trial.number)
                self._print(_line(trial))

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def _line(trial: FrozenTrial) -> str:
    if trial.state is TrialState.FAIL:
        return f"trial {trial.number}: failed: {trial.user_attrs.get(attributes.ERROR, 'its process was lost')}"
    values = ", ".join(f"{value:.4g}" for value in trial.values or ())
    return f"trial {trial.number}: {trial.state.name.lower()} {values}"
