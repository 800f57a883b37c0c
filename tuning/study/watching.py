"""Who looks on while a study runs."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import optuna
from optuna.trial import FrozenTrial


class StudyWatcher:
    """Is told what happens to a study; this one does not care. A context manager, as all displays are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def started(self, index: int, pid: int) -> None:
        """A worker process was started."""

    def died(self, index: int, cause: str) -> None:
        """A worker process ended as it should not; another one takes its place."""

    def lost(self, numbers: Sequence[int]) -> None:
        """These trials were lost with their process, and wait again."""

    def progressed(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        """About once a second, and whenever a trial of this process has ended.

        Args:
            study: the study.
            trials: those that make up its budget, in their order.
        """

    def stopping(self, n_workers: int) -> None:
        """The workers are told to stop, and are given some seconds to do so."""
