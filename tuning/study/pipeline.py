"""The whole method: search, race, test, verdict, and the winner as a file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from tuning import compare, results
from tuning.config import RunConfig
from tuning.errors import TrainingFailed, UsageError
from tuning.files import write_json, write_yaml
from tuning.runs import DEFAULT_RUNS_DIR
from tuning.study import finals
from tuning.study.budgets import ended_trials
from tuning.study.config import CHANGEABLE, STUDY_FILE, StudyConfig, directions, read_study_config, study_folder
from tuning.study.figures import write_figures
from tuning.study.finals import Candidate, Display, Stage
from tuning.study.plan import plan_study
from tuning.study.report import write_report
from tuning.study.runner import run_study
from tuning.study.search import refuse_all_failed
from tuning.study.seeds import Stage as SeedStage
from tuning.study.seeds import stage_seeds
from tuning.study.trial_table import trial_table, write_trial_table
from tuning.study.verdict import Verdict, default_won, judge
from tuning.study.watching import StudyWatcher

WINNER_FILE = "winner.yml"
FIGURES = "figures"


@dataclass(frozen=True)
class Tuned:
    """What a study has found.

    Attributes:
        config: the study.
        folder: where it lies.
        study: with all its trials.
        race: one row a raced configuration; empty where there was one only.
        test: one row for the winner and one for the default.
        race_runs, test_runs: one row a run.
        winner: the winning configuration; its seed is the first test seed.
        winner_file: the same as a file for `actorzoo train --config`.
        verdict: of the test.
    """

    config: StudyConfig
    folder: Path
    study: optuna.Study
    race: pd.DataFrame
    test: pd.DataFrame
    race_runs: pd.DataFrame
    test_runs: pd.DataFrame
    winner: RunConfig
    winner_file: Path
    verdict: Verdict


def tune(
    algo: str | None = None,
    env_id: str | None = None,
    *,
    runs_dir: str | os.PathLike[str] = DEFAULT_RUNS_DIR,
    n_jobs: int = 1,
    display: Display = compare.quiet,
    watcher: StudyWatcher | None = None,
    **settings: Any,
) -> Tuned:
    """Search hyperparameters, race the best, test the winner against the default.

    The same call continues the study where it was interrupted, and keeps what is done.

    Args:
        algo: registry key or class name.
        env_id: environment.
        runs_dir: the study lies in `studies/<name>` below it.
        n_jobs: processes that work on it; 1 searches in this process.
        display: shows the runs of race and test, as for `tuning.compare.compare`.
        watcher: is told what happens during the search.
        **settings: everything else that defines the study; see `tuning.study.plan.plan_study`.

    Returns:
        Study, race table, test table, winning configuration, verdict.

    Raises:
        UsageError: something in the settings is wrong, or the study's folder holds another one; nothing was started.
        TrainingFailed: every trial failed, or every run of the race.
        KeyboardInterrupt: interrupted; what is done is kept.
    """
    return tune_study(plan_study(algo, env_id, **settings), runs_dir, n_jobs=n_jobs, display=display, watcher=watcher)


def tune_study(
    config: StudyConfig,
    runs_dir: str | os.PathLike[str] = DEFAULT_RUNS_DIR,
    *,
    n_jobs: int = 1,
    display: Display = compare.quiet,
    watcher: StudyWatcher | None = None,
) -> Tuned:
    """`tune` for a study that is planned already; see there."""
    if n_jobs < 1:
        raise UsageError(f"n_jobs is {n_jobs}, but at least one process must work on the study")
    folder = open_folder(config, runs_dir)
    study = run_study(config, folder, n_jobs, watcher)
    refuse_all_failed(study)
    return conclude(config, folder, study, n_jobs=n_jobs, display=display)


def open_folder(config: StudyConfig, runs_dir: str | os.PathLike[str]) -> Path:
    """The study's folder with its study.yml, made or found again.

    Raises:
        UsageError: it holds a study with other settings, or cannot be made.
    """
    folder = study_folder(runs_dir, config.name)
    if (folder / STUDY_FILE).is_file():
        before = read_study_config(folder).to_data()
        after = config.to_data()
        for key in before:
            if key not in CHANGEABLE and before[key] != after[key]:
                raise UsageError(
                    f"the study {config.name} in {folder} has {_difference(key, before[key], after[key])}; give the "
                    "settings it was begun with, or another --study-name"
                )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made ({error.strerror}); choose another --runs-dir") from error
    config.write(folder)
    return folder


def conclude(
    config: StudyConfig, folder: Path, study: optuna.Study, *, n_jobs: int = 1, display: Display = compare.quiet
) -> Tuned:
    """Race and test what a search has found, and write everything down.

    Args:
        config: the study.
        folder: its folder.
        study: with its trials.
        n_jobs: runs at the same time.
        display: as for `tune`.

    Raises:
        TrainingFailed: no trial is complete and feasible, or every raced configuration has failed runs.
        KeyboardInterrupt: what has finished is kept.
    """
    chosen = finals.candidates(study, config)
    if not chosen:
        raise TrainingFailed(_no_candidate(config, study))
    race = _race(chosen, config, folder, n_jobs, display)
    best = chosen[0] if race is None else finals.best_of(race, chosen, config)
    if best is None:
        raise TrainingFailed(f"every raced configuration has failed runs; see {folder / 'race.csv'}")
    default = finals.default_candidate(config)
    seeds = stage_seeds(config.seed, SeedStage.TEST, config.test_seeds)
    pair = [best, default] if best.digits != default.digits else [default]
    test = finals.hold("test", pair, seeds, config, folder, n_jobs=n_jobs, display=display)
    verdict = _judge(test, pair, config, study)
    _write_tables(folder, "test", test)
    write_json(folder / "verdict.json", {"winner": best.name, **verdict.to_data()})
    winner = best.config.model_copy(update={"seed": seeds[0]})
    winner_file = _write_winner(winner, best, verdict, seeds, config, folder)
    empty = pd.DataFrame()
    tuned = Tuned(
        config=config,
        folder=folder,
        study=study,
        race=empty if race is None else race.table,
        test=test.table,
        race_runs=empty if race is None else race.runs,
        test_runs=test.runs,
        winner=winner,
        winner_file=winner_file,
        verdict=verdict,
    )
    document(tuned)
    return tuned


def document(tuned: Tuned) -> Path:
    """Write trials.csv, the figures and report.md into the study's folder.

    Returns:
        The report.
    """
    objectives = [metric.value for metric in tuned.config.objectives]
    trials = trial_table(tuned.study, objectives)
    write_trial_table(trials, tuned.folder)
    figures = write_figures(tuned.study, tuned.folder / FIGURES, objectives)
    return write_report(tuned, trials, figures)


def _race(
    chosen: Sequence[Candidate], config: StudyConfig, folder: Path, n_jobs: int, display: Display
) -> Stage | None:
    if len(chosen) == 1:
        return None  # nobody to race against
    seeds = stage_seeds(config.seed, SeedStage.RACE, config.race_seeds)
    race = finals.hold("race", chosen, seeds, config, folder, n_jobs=n_jobs, display=display)
    _write_tables(folder, "race", race)
    return race


def _judge(test: Stage, pair: Sequence[Candidate], config: StudyConfig, study: optuna.Study) -> Verdict:
    if len(pair) == 1:
        return default_won(len(ended_trials(study.get_trials(deepcopy=False))))
    maximize = directions(config)[0] == "maximize"
    return judge(test.scores(pair[0].name), test.scores(pair[1].name), maximize=maximize)


def _write_tables(folder: Path, stage: str, outcome: Stage) -> None:
    results.to_file(outcome.table, "csv", folder / f"{stage}.csv")
    results.to_file(outcome.runs, "csv", folder / f"{stage}_runs.csv")


def _write_winner(
    winner: RunConfig, best: Candidate, verdict: Verdict, seeds: Sequence[int], config: StudyConfig, folder: Path
) -> Path:
    path = folder / WINNER_FILE
    heading = (
        f"{best.name} of the study {config.name}: {verdict.sentence}\n"
        f"Tested with the seeds {', '.join(map(str, seeds))}; to repeat one of these runs:\n"
        f"actorzoo train --config {path.name} --seed {seeds[0]}"
    )
    write_yaml(path, winner.to_data(), heading=heading)
    return path


def _no_candidate(config: StudyConfig, study: optuna.Study) -> str:
    ended = ended_trials(study.get_trials(deepcopy=False))
    limit = f", or none kept to max_train_seconds {config.max_train_seconds:g}" if config.max_train_seconds else ""
    return f"none of the {len(ended)} trials of the study {config.name} is complete{limit}; give it more trials"


def _difference(key: str, before: Any, after: Any, path: str = "") -> str:
    """The first place where two settings differ, in words."""
    name = f"{path}.{key}" if path else key
    if isinstance(before, dict) and isinstance(after, dict):
        for inner in [*before, *after]:
            if before.get(inner) != after.get(inner):
                return _difference(inner, before.get(inner), after.get(inner), name)
    return f"{name} {before!r}, not {after!r}"
