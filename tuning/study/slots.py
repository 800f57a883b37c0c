"""The budget of trials as slots: exact, however many workers and machines take from it and are killed.

A study of n trials is n waiting trials, made when it begins. A worker takes the first that waits; taking is one atomic
change of the storage, so no two get the same, and when none waits, nothing is left to do: no counting can overshoot.
A trial whose process died gives its slot to a successor (Optuna's "retry_history" names the trials before it).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.study.processes import this_process
from tuning.study.storage import exclusive

PROCESS = "process"  # user attribute: who runs the trial
HISTORY = "retry_history"  # system attribute, as Optuna's own retries have it


class BudgetSpentError(Exception):
    """No trial waits to be run."""


def history(trial: FrozenTrial) -> list[int]:
    """Numbers of the trials whose slot this one took over, the first one first."""
    return list(trial.system_attrs.get(HISTORY, ()))


def slots(trials: Iterable[FrozenTrial], n_trials: int | None) -> list[FrozenTrial]:
    """The trials that make up the budget: the last of each slot, in the order of the slots.

    Args:
        trials: all of the study.
        n_trials: the budget; None: no limit. What two machines added beyond it, starting at the same moment, is left
            out.
    """
    trials = list(trials)
    replaced = {number for trial in trials for number in history(trial)}
    last = [trial for trial in trials if trial.number not in replaced]
    return sorted(last, key=lambda trial: (*history(trial), trial.number)[0])[:n_trials]


def waiting(trials: Iterable[FrozenTrial], n_trials: int | None) -> list[FrozenTrial]:
    """The trials that a worker may take, in their order."""
    return [trial for trial in slots(trials, n_trials) if trial.state == TrialState.WAITING]


def fill(study: optuna.Study, n_trials: int) -> None:
    """Add the slots that are missing to the budget; the caller holds the study's lock."""
    for _ in range(n_trials - len(slots(study.get_trials(deepcopy=False), n_trials))):
        study.add_trial(create_trial(state=TrialState.WAITING))


class SlotStudy(optuna.Study):
    """A study in which `optimize` takes trials from the slots, marks them as its own, and adds none beyond them.

    Args:
        study_name: an existing study.
        storage: where it is.
        url: of the storage.
        n_trials: the budget; None: as many as are asked for.
        **arguments: sampler, pruner.
    """

    def __init__(
        self, study_name: str, storage: BaseStorage, *, url: str, n_trials: int | None = None, **arguments: Any
    ) -> None:
        super().__init__(study_name, storage, **arguments)
        self._url = url
        self._n_trials = n_trials
        self._slot_storage = storage

    def _pop_waiting_trial_id(self) -> int:
        """The one place where `optuna.Study.ask` decides which trial it begins.

        Raises:
            BudgetSpentError: none is left.
        """
        # the lock lets the owner be written first: a worker that dies in between must not leave a trial without one
        with exclusive(self._url, self.study_name):
            trials = self._all_trials()
            if self._n_trials is None and not waiting(trials, None):
                self.add_trial(create_trial(state=TrialState.WAITING))
                trials = self._all_trials()
            for trial in waiting(trials, self._n_trials):
                number = trial._trial_id
                try:
                    self._slot_storage.set_trial_user_attr(number, PROCESS, this_process())
                    if self._slot_storage.set_trial_state_values(number, TrialState.RUNNING):
                        return number
                except UpdateFinishedTrialError:  # by another machine behind the same gRPC proxy
                    continue
        raise BudgetSpentError(f"all {self._n_trials} trials of {self.study_name} are taken")

    def _all_trials(self) -> Sequence[FrozenTrial]:
        return self._slot_storage.get_all_trials(self._study_id, deepcopy=False)
