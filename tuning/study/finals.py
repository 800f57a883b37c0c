"""Race and test: configurations that are trained anew, as runs with folders, on seeds that no trial has seen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from tuning import results
from tuning.compare import Job, Quiet, job_of_file, run_jobs
from tuning.config import RunConfig, available_cores, resolve
from tuning.files import write_yaml
from tuning.results.variants import config_hash
from tuning.runs import RunFolder
from tuning.study import attributes
from tuning.study.budgets import best_trials
from tuning.study.config import StudyConfig, directions
from tuning.study.objective import scoring_of
from tuning.study.scores import from_table, over_seeds, score

DEFAULT = "default"
RUNS = "runs"
Display = Callable[[Sequence[Job]], Quiet]


@dataclass(frozen=True)
class Candidate:
    """A configuration that takes part.

    Attributes:
        name: `trial 7`, or `default`.
        config: what a run of it does; its seed is replaced.
    """

    name: str
    config: RunConfig

    @property
    def digits(self) -> str:
        """Name of the configuration, whatever its seed."""
        return config_hash(self.config.to_data())


@dataclass(frozen=True)
class Stage:
    """What the runs of one stage say.

    Attributes:
        runs: one row a run: candidate, `tuning.results.runs`' columns, `objective`: the study's first objective (NaN
            where the run failed).
        table: one row a candidate: `objective` over its seeds, then `tuning.results.summary`'s columns.
    """

    runs: pd.DataFrame
    table: pd.DataFrame

    def scores(self, name: str) -> list[float | None]:
        """A candidate's objective, one a run in the order of the seeds; None for a run that failed."""
        chosen = self.runs.loc[self.runs["candidate"] == name, "objective"]
        return [None if math.isnan(value) else float(value) for value in chosen]


def candidates(study: optuna.Study, config: StudyConfig) -> list[Candidate]:
    """The best configurations of the search, the best first; of several objectives, those of the Pareto front.

    Trials with one and the same configuration are one candidate. Infeasible ones are none.
    """
    if len(config.objectives) > 1:
        trials = best_trials(study)
    else:
        complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        trials = [trial for trial in complete if all(value <= 0.0 for value in trial.constraints.values())]
    trials = sorted(trials, key=lambda trial: _rank(trial, config))
    found: dict[str, Candidate] = {}
    for trial in trials:
        candidate = Candidate(f"trial {trial.number}", resolve(config=trial.user_attrs[attributes.CONFIG]))
        found.setdefault(candidate.digits, candidate)
    return list(found.values())[: config.race_top]


def default_candidate(config: StudyConfig) -> Candidate:
    """The configuration that the study began with, exactly."""
    return Candidate(DEFAULT, config.base)


def hold(
    stage: str, taking_part: Sequence[Candidate], seeds: Sequence[int], config: StudyConfig, folder: Path, **run: Any
) -> Stage:
    """Train every candidate with every seed, each run in a process of its own; finished runs are kept.

    Args:
        stage: `race` or `test`; the candidates' configuration files lie in a folder of this name.
        taking_part: at least one.
        seeds: of the runs.
        config: the study.
        folder: the study's.
        **run: `n_jobs` and `display`, as for `tuning.compare.compare`.

    Returns:
        What the runs say; failed ones are in it.

    Raises:
        KeyboardInterrupt: all runs have been stopped, what has finished is kept.
    """
    jobs = {
        candidate.name: [job_of_file(_write(candidate, stage, folder), seed, folder / RUNS) for seed in seeds]
        for candidate in taking_part
    }
    # seed by seed: whatever slows the machine down for a while slows all candidates
    in_turn = [job for same_seed in zip(*jobs.values(), strict=True) for job in same_seed]
    _train([job for job in in_turn if job.finished() is None], **run)
    frames = [_runs_of(name, its_jobs, config) for name, its_jobs in jobs.items()]
    tables = [_summary_of(frame, config) for frame in frames]
    return Stage(pd.concat(frames, ignore_index=True), pd.concat(tables, ignore_index=True))


def best_of(stage: Stage, taking_part: Sequence[Candidate], config: StudyConfig) -> Candidate | None:
    """The candidate with the best objective over the seeds; None if every one has failed runs.

    A failed run is the worst there is, so a candidate with one loses against any without.
    """
    sign = 1.0 if directions(config)[0] == "maximize" else -1.0
    values = dict(zip(stage.table["candidate"], sign * stage.table["objective"], strict=True))
    able = [candidate for candidate in taking_part if not math.isnan(values[candidate.name])]
    return max(able, key=lambda candidate: values[candidate.name]) if able else None


def _rank(trial: FrozenTrial, config: StudyConfig) -> tuple[float, int]:
    sign = -1.0 if directions(config)[0] == "maximize" else 1.0
    return sign * trial.values[0], trial.number


def _write(candidate: Candidate, stage: str, folder: Path) -> Path:
    path = folder / stage / f"{candidate.name.replace(' ', '-')}.yml"
    write_yaml(path, candidate.config.to_data(), heading=f"{candidate.name}: actorzoo train --config {path.name}")
    return path


def _train(jobs: Sequence[Job], n_jobs: int | None, display: Display) -> None:
    if jobs:
        with display(jobs) as watcher:
            run_jobs(jobs, watcher, cores=available_cores(), at_once=n_jobs)


def _runs_of(name: str, jobs: Sequence[Job], config: StudyConfig) -> pd.DataFrame:
    """One row a job: its finished run, or else its latest attempt."""
    folders = [job.finished() or job.attempts()[-1] for job in jobs]
    table = results.runs(results.load(folders)).set_index("path").loc[[str(run.path) for run in folders]].reset_index()
    table.insert(0, "candidate", name)
    table.insert(1, "objective", [_objective(run, config) for run in folders])
    return table


def _objective(run: RunFolder, config: StudyConfig) -> float:
    status = run.status
    if status["status"] != "finished":
        return math.nan
    return score(config.objectives[0], from_table(run.evaluations(), status["train_seconds"]), scoring_of(config))


def _summary_of(runs: pd.DataFrame, config: StudyConfig) -> pd.DataFrame:
    table = results.summary(results.load(list(runs["path"])))
    table.insert(0, "candidate", runs["candidate"].iloc[0])
    table.insert(1, "objective", over_seeds(config.objectives[0], list(runs["objective"])))
    return table
