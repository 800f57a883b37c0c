"""Where a study is, and everything that is done to it there: joined, opened, recovered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuning.errors import UsageError
from tuning.study.lost_trials import MAX_RETRIES, recover
from tuning.study.slots import SlotStudy, fill, slots, waiting
from tuning.study.storage import HEARTBEAT_SECONDS, exclusive, open_storage, safe_url

_PREPARED = "actorzoo:prepared"


@dataclass(frozen=True, kw_only=True)
class StudyAddress:
    """A study in a storage, with its budget.

    Attributes:
        url: the storage; see `tuning.study.storage`.
        name: the study's name there. Commands that give the same name and storage share the study.
        n_trials: its budget; None: no limit.
        n_jobs: worker processes of this command.
        heartbeat_seconds: how often a trial reports to a database.
        max_retries: how often a trial is repeated whose process died.
    """

    url: str
    name: str
    n_trials: int | None = None
    n_jobs: int = 1
    heartbeat_seconds: int = HEARTBEAT_SECONDS
    max_retries: int = MAX_RETRIES

    @cached_property
    def storage(self) -> BaseStorage:
        """The connection of this process."""
        return open_storage(self.url, n_jobs=self.n_jobs, heartbeat_seconds=self.heartbeat_seconds)

    def join(
        self,
        directions: Sequence[Literal["minimize", "maximize"]],
        prepare: Callable[[optuna.Study], None] = lambda _: None,
    ) -> optuna.Study:
        """Make the study, or join it where it exists; then see that its budget is there.

        Args:
            directions: "maximize" or "minimize", one an objective.
            prepare: called once in the study's life, to enqueue what is to be tried first.

        Raises:
            UsageError: the study exists with other directions.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = self.storage
        with exclusive(self.url, self.name):
            study = optuna.create_study(
                storage=storage, study_name=self.name, directions=list(directions), load_if_exists=True
            )
            existing = [direction.name.lower() for direction in study.directions]
            if existing != list(directions):
                raise UsageError(
                    f"The study {self.name} in {safe_url(self.url)} exists and has the objectives {existing}, not "
                    f"{list(directions)}; give the study another name, or the same objectives"
                )
            if not study.user_attrs.get(_PREPARED):
                prepare(study)
                study.set_user_attr(_PREPARED, True)
            if self.n_trials is not None:
                fill(study, self.n_trials)
        return study

    def open(self, **arguments: Any) -> SlotStudy:
        """The study, for running trials; it has been joined before.

        Args:
            **arguments: sampler, pruner.
        """
        return SlotStudy(self.name, self.storage, url=self.url, n_trials=self.n_trials, **arguments)

    def recover(self, study: optuna.Study, *, mine_ended: bool = False) -> list[int]:
        """See `tuning.study.lost_trials.recover`."""
        return recover(study, self.storage, self.url, max_retries=self.max_retries, mine_ended=mine_ended)

    def slots(self, study: optuna.Study) -> list[FrozenTrial]:
        """The trials that make up the budget."""
        return slots(study.get_trials(deepcopy=False), self.n_trials)

    def is_waiting(self, study: optuna.Study) -> bool:
        """Whether there is a trial to begin."""
        return self.n_trials is None or bool(waiting(study.get_trials(deepcopy=False), self.n_trials))

    def is_running(self, study: optuna.Study) -> bool:
        """Whether a trial of the budget runs, here or elsewhere."""
        return any(trial.state == TrialState.RUNNING for trial in self.slots(study))
