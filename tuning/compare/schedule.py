"""As many runs at once as there are cores for; one's crash leaves the others alone; Ctrl-C stops all of them."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuning.compare.child import Child
from tuning.compare.jobs import Job
from tuning.interruption import collected_signals
from tuning.runs import RunFolder

POLL_SECONDS = 0.1
PROGRESS_SECONDS = 1.0
GRACE_SECONDS = 10.0  # for a run that is told to stop: to end its workers and to save what it has


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: the job.
        status: finished, failed or interrupted.
        run: its folder; None if it was interrupted before it had one.
    """

    job: Job
    status: str
    run: RunFolder | None

    @property
    def error_line(self) -> str:
        """Why it failed, in one line; "" otherwise."""
        return (self.run.status.get("error_line") or "") if self.run else ""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        num_timesteps: environment steps.
        steps_per_second: of training alone.
        last_return: of the latest evaluation, deterministic; None before the first.
    """

    num_timesteps: int
    steps_per_second: float
    last_return: float | None


class Watcher:
    """Is told what happens to the jobs; this one does not care."""

    def started(self, job: Job) -> None:
        """A process was started for the job."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """About once a second for each job that runs and has a folder."""

    def ended(self, outcome: Outcome) -> None:
        """The job's process has ended."""

    def stopping(self, jobs: Sequence[Job]) -> None:
        """These jobs are told to stop, and are given some seconds to do so."""


def run_jobs(
    jobs: Sequence[Job],
    watcher: Watcher,
    *,
    cores: int,
    at_once: int | None = None,
    command: Callable[[Job], list[str]] = lambda job: job.command,
    grace_seconds: float = GRACE_SECONDS,
) -> list[Outcome]:
    """Train every job in a process of its own.

    A job starts when the cores it keeps busy are free, or when nothing else runs. A later one that fits goes ahead of
    an earlier one that does not.

    Args:
        jobs: in the order in which they are to start.
        watcher: is told what happens.
        cores: how many cores the jobs share.
        at_once: so many jobs at the same time, however many cores they need; None: as the cores allow.
        command: the command line that trains a job.
        grace_seconds: how long runs may take to stop after an interruption before they are killed.

    Returns:
        One outcome a job, in the order in which they ended.

    Raises:
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP arrived; all runs have been stopped, nothing is left running. A
            second signal ends the grace.
    """
    waiting = list(jobs)
    running: list[Child] = []
    outcomes: list[Outcome] = []
    last_look = 0.0
    with collected_signals() as received:
        try:
            while (waiting or running) and not received:
                for job in _startable(waiting, [child.job for child in running], cores, at_once):
                    waiting.remove(job)
                    running.append(Child(job, command(job)))
                    watcher.started(job)
                time.sleep(POLL_SECONDS)
                for child in [child for child in running if child.poll() is not None]:
                    running.remove(child)
                    outcomes.append(_outcome(child))
                    watcher.ended(outcomes[-1])
                if time.monotonic() - last_look >= PROGRESS_SECONDS:
                    last_look = time.monotonic()
                    for child in running:
                        if (run := child.run()) is not None:
                            watcher.progressed(child.job, progress_of(run))
            if running:
                watcher.stopping([child.job for child in running])
        finally:
            _stop(running, grace_seconds, received)
    if received and (waiting or running):
        raise KeyboardInterrupt(f"{signal.Signals(received[0]).name} received")
    return outcomes


def _startable(waiting: Sequence[Job], running: Sequence[Job], cores: int, at_once: int | None) -> list[Job]:
    """The waiting jobs that may start now, beside those that run."""
    chosen: list[Job] = []
    for job in waiting:
        busy = [*running, *chosen]
        if at_once is not None:
            fits = len(busy) < at_once
        else:
            fits = not busy or sum(other.cores for other in busy) + job.cores <= cores
        if fits:
            chosen.append(job)
    return chosen


def _outcome(child: Child) -> Outcome:
    run = child.end()
    assert run is not None  # only an interrupted run may have no folder
    return Outcome(child.job, run.status["status"], run)


def progress_of(run: RunFolder) -> Progress:
    """How far the run is, by its folder."""
    status, evaluations = run.status, run.evaluations()
    evaluations = evaluations[~evaluations["sampled"]]
    latest = evaluations.loc[evaluations["num_timesteps"] == evaluations["num_timesteps"].max(), "return"]
    last_return = float(latest.mean()) if len(latest) else None
    return Progress(status["num_timesteps"], status["steps_per_second"], last_return)


def _stop(running: Sequence[Child], grace_seconds: float, received: Sequence[int]) -> None:
    """Ask all runs to stop, wait, and kill what is left."""
    for child in running:
        child.interrupt()
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and len(received) < 2 and any(child.poll() is None for child in running):
        time.sleep(POLL_SECONDS)
    for child in running:
        child.end(interrupted=True)
