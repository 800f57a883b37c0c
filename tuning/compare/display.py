"""What a user sees while a comparison runs: bars on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from tuning.compare.jobs import Job
from tuning.compare.schedule import Outcome, Watcher, progress_of
from tuning.compare.schedule import Progress as RunProgress

SECONDS_BETWEEN_LINES = 30.0


class Quiet(Watcher):
    """Shows nothing; a context manager, as all displays are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


def quiet(jobs: Sequence[Job]) -> Quiet:
    """A display that shows nothing of these jobs."""
    return Quiet()


class Lines(Quiet):
    """A line when a run starts and ends, and every half minute one for each that runs.

    Args:
        jobs: all that are to be trained.
        stream: where to write; stderr by default.
    """

    def __init__(self, jobs: Sequence[Job], stream: TextIO | None = None) -> None:
        self._total = len(jobs)
        self._ended = 0
        self._stream = stream or sys.stderr
        self._last_line: dict[str, float] = {}

    def started(self, job: Job) -> None:
        """Say so."""
        self._last_line[job.label] = time.monotonic()
        self._print(f"{job.label}: started, {job.config.n_timesteps:,} steps")

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Say so now and then."""
        if time.monotonic() - self._last_line[job.label] >= SECONDS_BETWEEN_LINES:
            self._last_line[job.label] = time.monotonic()
            done = f"{progress.num_timesteps:,}/{job.config.n_timesteps:,} steps"
            self._print(f"{job.label}: {done}, {_speed(progress)}, return {_score(progress)}")

    def ended(self, outcome: Outcome) -> None:
        """Say how."""
        self._ended += 1
        self._print(f"[{self._ended}/{self._total}] {ending(outcome)}")

    def stopping(self, jobs: Sequence[Job]) -> None:
        """Say so: it takes a moment."""
        self._print(_stopping(jobs))

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class Bars(Quiet):
    """One bar a running job and one for all of them, with steps/s, the last evaluation's return and the time left.

    Args:
        jobs: all that are to be trained.
        console: a terminal; stderr by default.
    """

    def __init__(self, jobs: Sequence[Job], console: Console | None = None) -> None:
        self._n_jobs = len(jobs)
        self._n_ended = 0
        self._steps_ended = 0  # of jobs that have ended, as if all had finished
        self._steps: dict[str, int] = {}  # of jobs that run
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]:>13}"),
            TextColumn("{task.fields[score]}"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            speed_estimate_period=120.0,
        )
        total = sum(job.config.n_timesteps for job in jobs)
        self._all = self._progress.add_task(self._heading, total=total, speed="", score="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, job: Job) -> None:
        """Give it a bar."""
        self._tasks[job.label] = self._progress.add_task(
            job.label, total=job.config.n_timesteps, speed="", score="starts"
        )

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Move its bar and the one of all."""
        self._steps[job.label] = min(progress.num_timesteps, job.config.n_timesteps)
        self._progress.update(
            self._tasks[job.label],
            completed=self._steps[job.label],
            speed=_speed(progress),
            score=f"return {_score(progress)}",
        )
        self._update_all()

    def ended(self, outcome: Outcome) -> None:
        """Turn its bar into a line that stays."""
        self._progress.remove_task(self._tasks.pop(outcome.job.label))
        self._steps.pop(outcome.job.label, None)
        self._steps_ended += outcome.job.config.n_timesteps
        self._n_ended += 1
        style = "red" if outcome.status == "failed" else "default"
        self._progress.console.print(f"[{style}]{escape(ending(outcome))}[/]", highlight=False)
        self._update_all()

    def stopping(self, jobs: Sequence[Job]) -> None:
        """Say so: it takes a moment."""
        self._progress.console.print(_stopping(jobs), highlight=False, markup=False)

    @property
    def _heading(self) -> str:
        return f"[bold]{self._n_ended} of {self._n_jobs} runs[/]"

    def _update_all(self) -> None:
        done = self._steps_ended + sum(self._steps.values())
        self._progress.update(self._all, completed=done, description=self._heading)


def ending(outcome: Outcome) -> str:
    """How a run ended, in one line."""
    if outcome.run is None:
        return f"{outcome.job.label}: interrupted before it began"
    status = outcome.run.status
    done = f"{status['num_timesteps']:,} steps in {status['train_seconds']:.1f} s"
    if outcome.status == "finished":
        progress = progress_of(outcome.run)
        return f"{outcome.job.label}: return {_score(progress)} after {done}, {_speed(progress)}"
    reason = f": {outcome.error_line} (see {outcome.run.path})" if outcome.error_line else ""
    return f"{outcome.job.label}: {outcome.status} after {done}{reason}"


def _stopping(jobs: Sequence[Job]) -> str:
    return f"stopping {', '.join(job.label for job in jobs)} ..."


def _speed(progress: RunProgress) -> str:
    return f"{progress.steps_per_second:,.0f} steps/s"


def _score(progress: RunProgress) -> str:
    return "–" if progress.last_return is None else f"{progress.last_return:.1f}"
