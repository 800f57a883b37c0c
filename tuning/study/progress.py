"""What a user sees while a study runs: one live line with the best trial on a terminal, lines elsewhere."""

import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TextIO

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from tuning.study.trial_table import error_of, state_of
from tuning.study.watching import StudyWatcher

SECONDS_BETWEEN_LINES = 30.0
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Snapshot:
    """How far a study is.

    Attributes:
        done, pruned, failed, running: trials of the budget.
        total: the budget; None where there is no number of trials.
        best: the best complete trials: one, or the Pareto front.
        objectives: how the values are called.
    """

    done: int
    pruned: int
    failed: int
    running: int
    total: int | None
    best: tuple[FrozenTrial, ...]
    objectives: tuple[str, ...]

    @property
    def ended(self) -> int:
        """Trials that need no more work."""
        return self.done + self.pruned + self.failed

    @property
    def counts(self) -> str:
        """`14 done, 5 pruned, 1 failed, 2 running`."""
        parts = [f"{self.done} done", f"{self.pruned} pruned", f"{self.failed} failed", f"{self.running} running"]
        return ", ".join(parts)

    @property
    def best_text(self) -> str:
        """The best so far with its settings; of a Pareto front, how many and the first objective's best."""
        if not self.best:
            return "no trial is complete yet"
        first = self.best[0]
        values = ", ".join(
            f"{name} {value:.6g}" for name, value in zip(self.objectives, first.values or (), strict=False)
        )
        front = f" ({len(self.best)} on the Pareto front)" if len(self.best) > 1 else ""
        settings = "  ".join(f"{name}={readable(value)}" for name, value in first.params.items())
        return f"best: trial {first.number}, {values}{front}  {settings}"


def snapshot(
    study: optuna.Study, trials: Sequence[FrozenTrial], total: int | None, objectives: Sequence[str]
) -> Snapshot:
    """What there is to show.

    Args:
        study: the study.
        trials: those of its budget.
        total: the budget in trials.
        objectives: names of its values.
    """
    counts = Counter(state_of(trial) for trial in trials)
    try:
        best = study.best_trials if len(study.directions) > 1 else [study.best_trial]
    except ValueError:  # none is complete
        best = []
    best = sorted(best, key=lambda trial: -_sign(study) * trial.values[0])
    return Snapshot(
        done=counts["complete"],
        pruned=counts["pruned"],
        failed=counts["failed"] + counts["lost"],
        running=counts["running"],
        total=total,
        best=tuple(best),
        objectives=tuple(objectives),
    )


def readable(value: Any) -> str:
    """A setting in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class TimeLeft:
    """Seconds to the budget's end, by the speed since this call began: what was done earlier took no time of it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: float | None = None
        self._ended_before = 0

    def __call__(self, ended: int, total: int | None) -> float | None:
        """None as long as it cannot be said.

        Args:
            ended: trials that need no more work.
            total: the budget.
        """
        if self._start is None:
            self._start, self._ended_before = self._clock(), ended
        done_now = ended - self._ended_before
        if total is None or done_now <= 0:
            return None
        return (self._clock() - self._start) / done_now * max(total - ended, 0)


def minutes(seconds: float | None) -> str:
    """`1:02:03`, or `-:--` where it is not known."""
    if seconds is None:
        return "-:--"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class _Shown(StudyWatcher, ABC):
    """What both displays share: they are told, and print lines.

    Args:
        total: the budget in trials.
        objectives: names of the study's values.
    """

    def __init__(self, total: int | None, objectives: Sequence[str]) -> None:
        self._total = total
        self._objectives = tuple(objectives)
        self._time_left = TimeLeft()
        self._said: set[int] = set()  # trials whose failure was told

    @abstractmethod
    def print(self, line: str) -> None:
        """Say one thing."""

    @abstractmethod
    def show(self, now: Snapshot, seconds_left: float | None) -> None:
        """Show how far the study is."""

    def died(self, index: int, cause: str) -> None:
        """Say so, with the cause."""
        self.print(f"worker {index} died: {cause}; another one takes its place")

    def lost(self, numbers: Sequence[int]) -> None:
        """Say which."""
        names = ", ".join(map(str, numbers))
        self.print(f"trial{'s' if len(numbers) > 1 else ''} {names} lost with the process; tried again")

    def stopping(self, n_workers: int) -> None:
        """Say so: it takes a moment."""
        self.print(f"stopping {n_workers} worker{'s' if n_workers > 1 else ''} ...")

    def progressed(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        """Show how far it is; tell each failure once."""
        for trial in trials:
            if state_of(trial) == "failed" and trial.number not in self._said:
                self._said.add(trial.number)
                self.print(f"trial {trial.number} failed: {error_of(trial)}")
        now = snapshot(study, trials, self._total, self._objectives)
        self.show(now, self._time_left(now.ended, now.total))


class StudyLines(_Shown):
    """A line when a best trial is found, and every half minute one with the counts.

    Args:
        total: the budget in trials.
        objectives: names of the study's values.
        stream: where to write; stderr by default.
    """

    def __init__(self, total: int | None, objectives: Sequence[str] = ("value",), stream: TextIO | None = None) -> None:
        super().__init__(total, objectives)
        self._stream = stream or sys.stderr
        self._last_line = -SECONDS_BETWEEN_LINES
        self._best: tuple[int, ...] = ()
        self._ended = -1

    def show(self, now: Snapshot, seconds_left: float | None) -> None:
        """Print what is new."""
        best = tuple(trial.number for trial in now.best)
        all_ended = now.ended == now.total and self._ended != now.ended
        if best != self._best or all_ended or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            of = "" if now.total is None else f" of {now.total}"
            left = "" if seconds_left is None else f", {minutes(seconds_left)} left"
            self.print(f"[{now.ended}{of}] {now.counts}{left}; {now.best_text}")
        self._best, self._ended = best, now.ended

    def print(self, line: str) -> None:
        """One line."""
        print(line, file=self._stream, flush=True)


class StudyBar(_Shown):
    """A bar with the counts and the time left, and below it the best trial with its settings.

    Args:
        total: the budget in trials.
        objectives: names of the study's values.
        console: a terminal; stderr by default.
    """

    def __init__(
        self, total: int | None, objectives: Sequence[str] = ("value",), console: Console | None = None
    ) -> None:
        super().__init__(total, objectives)
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}[/]"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[counts]}"),
            TextColumn("{task.fields[left]}"),
        )
        self._task = self._bar.add_task("trials", total=total, counts="", left="")
        self._best = Text("no trial is complete yet")
        self._live = Live(Group(self._bar, self._best), console=self._console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, now: Snapshot, seconds_left: float | None) -> None:
        """Move the bar."""
        of = f"{now.ended}" if now.total is None else f"{now.ended} of {now.total}"
        self._bar.update(
            self._task,
            description=f"{of} trials",
            completed=now.ended,
            counts=now.counts,
            left="" if seconds_left is None else f"{minutes(seconds_left)} left",
        )
        self._best = Text(now.best_text)
        self._live.update(Group(self._bar, self._best))

    def print(self, line: str) -> None:
        """One line above the bar."""
        self._console.print(line, highlight=False, markup=False)


def study_display(total: int | None, objectives: Sequence[str], progress: bool = True) -> StudyWatcher:
    """The display that fits: a live one on a terminal, lines elsewhere, nothing where none is wanted.

    Args:
        total: the budget in trials.
        objectives: names of the study's values.
        progress: whether anything is to be shown.
    """
    if not progress:
        return StudyWatcher()
    console = Console(stderr=True)
    return StudyBar(total, objectives, console) if console.is_terminal else StudyLines(total, objectives)


def _sign(study: optuna.Study) -> float:
    return 1.0 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else -1.0
