"""Trials whose process died: failed, and tried again, exactly once each.

A trial counts as lost when its process, on this machine, is gone; when the heartbeat that it sends to a database has
stopped; or when it was interrupted. Everything here is done under the study's lock, and in an order in which a
`kill -9` at any moment leaves either a running trial of a dead process or a failed one without a successor: both are
put right by the next call.
"""

import warnings
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.study.processes import is_dead, this_process
from tuning.study.slots import HISTORY, PROCESS, history
from tuning.study.storage import exclusive

LOST = "lost"  # user attribute: why, in words
ENDED = "ended"  # user attribute: the objective gave a value, pruned or raised; what follows is no loss
INTERRUPTED = "interrupted"
DEATHS = "actorzoo:deaths"  # system attribute: how often the slot's process died; interruptions do not count
MAX_RETRIES = 3
_OF_ONE_ATTEMPT = (PROCESS, LOST, ENDED, "error", "traceback")


def recover(
    study: optuna.Study, storage: BaseStorage, url: str, *, max_retries: int = MAX_RETRIES, mine_ended: bool = False
) -> list[int]:
    """Fail the running trials of dead processes and give every lost trial a successor.

    Args:
        study: the study.
        storage: where it is.
        url: of the storage.
        max_retries: a slot whose process died more often than this fails for good: the trial itself may be the cause.
        mine_ended: whether no trial of the calling process can be running.

    Returns:
        Numbers of the trials that were found lost.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)  # does nothing where there are no heartbeats
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if not any(_has_died(trial, mine_ended) for trial in running) and not _to_repeat(study, max_retries):
        return []  # as nearly always: nobody is held up, and a database is not asked for its lock
    with exclusive(url, study.study_name):
        lost = [
            trial.number
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if _has_died(trial, mine_ended) and _fail(trial, storage)
        ]
        for trial in _to_repeat(study, max_retries):
            study.add_trial(_successor(trial))
    return lost


def is_lost(trial: FrozenTrial) -> bool:
    """Whether the trial failed because its process died or was interrupted, not because of what it computed."""
    attrs = trial.user_attrs
    return trial.state == TrialState.FAIL and (LOST in attrs or (PROCESS in attrs and ENDED not in attrs))


def deaths(trial: FrozenTrial) -> int:
    """How often the process of this lost trial's slot has died, this time included."""
    before = int(trial.system_attrs.get(DEATHS, 0))
    return before + (trial.user_attrs.get(LOST) != INTERRUPTED)


def reason(trial: FrozenTrial) -> str:
    """Why a lost trial was lost, in words."""
    return str(trial.user_attrs.get(LOST, "its worker did not report any more"))


def _has_died(trial: FrozenTrial, mine_ended: bool) -> bool:
    process: dict[str, Any] | None = trial.user_attrs.get(PROCESS)
    return process is not None and bool(is_dead(process) or (mine_ended and _is_mine(process)))


def _fail(trial: FrozenTrial, storage: BaseStorage) -> bool:
    process = trial.user_attrs[PROCESS]
    try:
        if LOST not in trial.user_attrs:
            cause = f"process {process['pid']} on {process['host']} ended without finishing it"
            storage.set_trial_user_attr(trial._trial_id, LOST, cause)
        return storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:  # it had finished after all
        return False


def _is_mine(process: dict[str, Any]) -> bool:
    return process == this_process()


def _to_repeat(study: optuna.Study, max_retries: int) -> list[FrozenTrial]:
    """Lost trials without a successor whose slot is not given up."""
    trials = study.get_trials(deepcopy=False)
    replaced = {number for trial in trials for number in history(trial)}
    lost = [trial for trial in trials if is_lost(trial) and trial.number not in replaced]
    return [trial for trial in lost if deaths(trial) <= max_retries]


def _successor(trial: FrozenTrial) -> FrozenTrial:
    """The same parameters once more; what was suggested already is kept, the rest will be."""
    attrs = dict(trial.system_attrs)
    attrs[HISTORY] = [*history(trial), trial.number]
    attrs["failed_trial"] = attrs[HISTORY][0]  # where Optuna's own retries name the first
    attrs[DEATHS] = deaths(trial)
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=attrs,
        user_attrs={key: value for key, value in trial.user_attrs.items() if key not in _OF_ONE_ATTEMPT},
    )
