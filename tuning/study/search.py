"""The search: a study in its storage, and a process that makes trials until the budget is spent."""

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tuning.errors import TrainingFailed
from tuning.study import attributes
from tuning.study.budgets import StopCallback, ended_trials, reason_to_stop, stop_callbacks
from tuning.study.config import JOURNAL_FILE, StudyConfig, directions
from tuning.study.objective import Objective, default_parameters
from tuning.study.pruners import make_pruner
from tuning.study.samplers import make_sampler


def create_study(config: StudyConfig, storage: BaseStorage, worker_index: int = 0) -> optuna.Study:
    """The study as it stands in its storage; a new one begins with the default enqueued.

    Args:
        config: the study.
        storage: where it is kept.
        worker_index: of the process that asks; gives its sampler a stream of its own.
    """
    study = optuna.create_study(
        storage=storage, study_name=config.name, directions=directions(config), load_if_exists=True
    )
    n_trials = len(study.get_trials(deepcopy=False))
    if n_trials == 0 and config.enqueue_default:
        _enqueue_default(study, config)
    study.sampler = make_sampler(config, worker_index, n_trials)
    study.pruner = make_pruner(config)
    return study


def _enqueue_default(study: optuna.Study, config: StudyConfig) -> None:
    parameters, moved = default_parameters(config)
    about = {attributes.DEFAULT: True, attributes.MOVED: {name: list(pair) for name, pair in moved.items()}}
    # another machine may have been faster
    study.enqueue_trial(parameters, user_attrs=about, skip_if_exists=True)


def search(study: optuna.Study, config: StudyConfig, callbacks: Sequence[StopCallback] = ()) -> None:
    """Make trials in this process until the study's budget is spent.

    A failed trial does not end the search.

    Args:
        study: of `create_study`.
        config: the study.
        callbacks: called after each trial.
    """
    if reason_to_stop(config, study) is None:
        objective = Objective.from_config(config)
        study.optimize(objective, catch=(Exception,), callbacks=[*callbacks, *stop_callbacks(config)])


def refuse_all_failed(study: optuna.Study) -> None:
    """Make sure that something can be concluded.

    Raises:
        TrainingFailed: trials have ended, and all of them failed; the message has the first cause.
    """
    ended = ended_trials(study.get_trials(deepcopy=False))
    failed = [trial for trial in ended if trial.state is TrialState.FAIL]
    if failed and len(failed) == len(ended):
        first = failed[0]
        cause = first.user_attrs.get(attributes.ERROR, "without a word")
        raise TrainingFailed(
            f"all {len(failed)} trials of the study {study.study_name} failed. The first one, trial {first.number}: "
            f"{cause} (its traceback is the trial's user attribute {attributes.TRACEBACK!r})"
        )


def run_study(config: StudyConfig, folder: Path, n_jobs: int, callbacks: Sequence[StopCallback] = ()) -> optuna.Study:
    """Search until the budget is spent."""
    backend = JournalFileBackend(str(folder / JOURNAL_FILE))
    study = create_study(config, JournalStorage(backend))
    search(study, config, callbacks)
    return study
