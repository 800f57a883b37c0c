"""Train what is missing, then compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from tuning import results
from tuning.compare.display import Quiet, quiet
from tuning.compare.jobs import Job, budget_notes, plan, refuse_running
from tuning.compare.report import Files, files_of, write_files
from tuning.compare.schedule import Outcome, run_jobs
from tuning.config import available_cores
from tuning.errors import UsageError
from tuning.runs import DEFAULT_RUNS_DIR


@dataclass(frozen=True)
class Comparison:
    """A comparison that has been made.

    Attributes:
        outcomes: one a job, those kept from earlier first.
        long: the long table of all its runs, earlier failed attempts included.
        files: what was written.
        notes: sentences that a reader of its tables must know.
    """

    outcomes: tuple[Outcome, ...]
    long: pd.DataFrame
    files: Files
    notes: tuple[str, ...]

    @property
    def failed(self) -> list[Outcome]:
        """The jobs without a finished run."""
        return [outcome for outcome in self.outcomes if outcome.status != "finished"]


def compare(
    algos: Sequence[str],
    envs: Sequence[str],
    seeds: Sequence[int] | int = 5,
    *,
    n_timesteps: int | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    runs_dir: str | PathLike[str] = DEFAULT_RUNS_DIR,
    import_modules: Sequence[str] = (),
    display: Callable[[Sequence[Job]], Quiet] = quiet,
    command: str = "",
    launcher: Callable[[Job], list[str]] = lambda job: job.command,
) -> Comparison:
    """Train every algorithm in every environment with every seed, each run in a process of its own, and compare.

    Runs that have finished before, with the same settings and seed, are kept.

    Args:
        algos: registry keys or class names.
        envs: environment ids.
        seeds: the seeds, or how many, counted from 0.
        n_timesteps: budget of every run; None: that of each algorithm's configuration.
        hyperparams: as for `tuning.compare.plan`.
        jobs: runs at the same time; None: as many as there are cores for, an asynchronous run counting as its workers.
        runs_dir: folder below which runs lie.
        import_modules: modules that register environments.
        display: makes what shows the progress of the jobs that are to be trained.
        command: the command line that makes this comparison again, for the report.
        launcher: the command line that trains a job.

    Returns:
        The comparison; failed runs are in it.

    Raises:
        UsageError: something does not fit together; nothing was started or written.
        KeyboardInterrupt: it was interrupted; all runs have been stopped, what has finished is kept.
    """
    runs_dir = Path(runs_dir)
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs={jobs}, but at least one run at a time is needed; leave it out to use all cores")
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    planned = plan(
        algos,
        envs,
        seeds,
        runs_dir=runs_dir,
        n_timesteps=n_timesteps,
        hyperparams=hyperparams,
        import_modules=import_modules,
    )
    refuse_running(planned)
    kept = [Outcome(job, "finished", run) for job in planned if (run := job.finished())]
    done = {outcome.job.label for outcome in kept}
    missing = [job for job in planned if job.label not in done]
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{runs_dir} cannot hold runs ({error.strerror}); give another --runs-dir") from error
    cores = available_cores()
    with display(missing) as watcher:
        trained = run_jobs(missing, watcher, cores=cores, at_once=jobs, command=launcher)
    paths = {run.path for job in planned for run in job.attempts()}
    long = results.load(sorted(paths))
    files = files_of(planned)
    at_once = f"up to {jobs} at once" if jobs else "as many at once as their workers fit"
    notes = (f"Runs were trained {at_once} on {cores} cores.", *budget_notes(planned))
    write_files(files, long, planned, command=command, notes=notes)
    return Comparison((*kept, *trained), long, files, notes)
