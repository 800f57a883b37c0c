"""A study from its configuration: in this process, or by worker processes that are given its file only."""

import os
from pathlib import Path

import optuna
from optuna.trial import TrialState

from tuning.environments import check_known
from tuning.study.address import StudyAddress
from tuning.study.budgets import reason_to_stop, stop_callbacks
from tuning.study.config import JOURNAL_FILE, STUDY_FILE, StudyConfig, directions, read_study_config
from tuning.study.objective import Objective
from tuning.study.pruners import make_pruner
from tuning.study.samplers import make_sampler
from tuning.study.search import enqueue_default
from tuning.study.slots import SlotStudy
from tuning.study.watching import StudyWatcher
from tuning.study.worker import command, run_worker
from tuning.study.workers import run_here, run_workers

LOGS = "workers"


def address_of(config: StudyConfig, folder: str | os.PathLike[str], n_jobs: int = 1) -> StudyAddress:
    """Where the study's trials are: its storage, or the journal in its folder."""
    url = config.storage or str(Path(folder) / JOURNAL_FILE)
    return StudyAddress(url=url, name=config.name, n_trials=config.budget.trials, n_jobs=n_jobs)


def run_study(
    config: StudyConfig,
    folder: str | os.PathLike[str],
    n_jobs: int = 1,
    watcher: StudyWatcher | None = None,
) -> optuna.Study:
    """Make the study, or join it, and run its trials until the budget is spent.

    A study that was interrupted or killed continues. So do several machines that call this with one storage.

    Args:
        config: the study.
        folder: its folder, which holds study.yml for the workers, what they print, and the journal where no storage
            is given.
        n_jobs: worker processes; 1: the trials run in this process.
        watcher: is told what happens; entered and left here.

    Returns:
        The study; every trial of its budget has ended, unless a limit of another kind was reached first.

    Raises:
        UsageError: the storage cannot be used, or holds another study of this name.
        TrainingFailed: workers die one after the other.
        KeyboardInterrupt: interrupted; the same call continues.
    """
    folder = Path(folder)
    address = address_of(config, folder, n_jobs)
    study = address.join(directions(config), lambda study: enqueue_default(study, config))
    if reason_to_stop(config, study) is not None:  # it was finished before
        return study
    with watcher or StudyWatcher() as shown:
        if n_jobs == 1:
            mine = _open(config, address, 0)
            run_here(address, mine, Objective.from_config(config), stop_callbacks(config), shown)
        else:
            config.write(folder)
            run_workers(address, command(folder / STUDY_FILE), shown, logs=folder / LOGS)
    return study


def work_on_file(file: Path, index: int) -> int:
    """What a worker process does.

    Args:
        file: a study's study.yml.
        index: the worker's number.

    Returns:
        The exit code.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = read_study_config(file)
    check_known(config.base.env, config.base.import_modules)
    study = _open(config, address_of(config, file.parent, n_jobs=2), index)
    return run_worker(study, Objective.from_config(config), stop_callbacks(config))


def _open(config: StudyConfig, address: StudyAddress, index: int) -> SlotStudy:
    study = address.open(pruner=make_pruner(config))
    begun = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    # a worker that continues, or replaces one that died, must not draw once more what was drawn already
    study.sampler = make_sampler(config, index, len(begun))
    return study
