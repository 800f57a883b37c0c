"""When the search ends. The study itself is asked, so all its workers on all machines spend one budget together."""

from collections.abc import Callable, Iterable
from datetime import datetime

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuning.study.attributes import NUM_TIMESTEPS, RESULT
from tuning.study.config import StudyConfig
from tuning.study.lost_trials import is_lost

StopCallback = Callable[[optuna.Study, FrozenTrial], None]


def stop_callbacks(config: StudyConfig) -> list[StopCallback]:
    """What `study.optimize(callbacks=...)` takes: stops after the trial that spends the budget."""

    def stop(study: optuna.Study, trial: FrozenTrial) -> None:
        if reason_to_stop(config, study) is not None:
            study.stop()

    return [stop]


def reason_to_stop(config: StudyConfig, study: optuna.Study) -> str | None:
    """Why no other trial is to be started, in words; None as long as there is none."""
    budget = config.budget
    trials = study.get_trials(deepcopy=False)
    ended = ended_trials(trials)
    if budget.trials is not None and len(ended) >= budget.trials:
        return f"{len(ended)} trials have ended"
    if budget.hours is not None and (hours := busy_seconds(trials) / 3600) >= budget.hours:
        return f"trials have run for {hours:.2f} hours"
    if budget.total_steps is not None and (steps := total_steps(trials)) >= budget.total_steps:
        return f"{steps:,} environment steps were taken"
    if budget.patience is not None and (since := trials_without_improvement(study, ended)) >= budget.patience:
        return f"nothing improved in {since} trials"
    return None


def ended_trials(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Those that count: complete, pruned or failed. One whose process was lost is tried again and does not count."""
    return [trial for trial in trials if trial.state.is_finished() and not is_lost(trial)]


def total_steps(trials: Iterable[FrozenTrial]) -> int:
    """Environment steps of all trials that have ended, the lost ones' as far as they are known."""
    return sum(int(trial.user_attrs.get(RESULT, {}).get(NUM_TIMESTEPS, 0)) for trial in trials)


def busy_seconds(trials: Iterable[FrozenTrial]) -> float:
    """Seconds during which at least one trial was running.

    Pauses between two calls do not count, and neither do trials twice that run at the same time.
    """
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_start is not None and trial.datetime_complete is not None
    )
    seconds = 0.0
    until: datetime | None = None
    for start, end in spans:
        begin = start if until is None else max(start, until)
        seconds += max((end - begin).total_seconds(), 0.0)
        until = end if until is None else max(until, end)
    return seconds


def trials_without_improvement(study: optuna.Study, ended: list[FrozenTrial]) -> int:
    """How many trials have ended since the best one, or since the latest one of the Pareto front.

    Pruned and failed trials count, too. As long as no trial is complete nothing has improved, either.
    """
    best = best_trials(study)
    last = max((trial.number for trial in best), default=-1)
    return sum(trial.number > last for trial in ended)


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The feasible trials that no other beats: the best one, or the Pareto front; empty if none is complete."""
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not any(all(value <= 0.0 for value in trial.constraints.values()) for trial in complete):
        return []
    return list(study.best_trials) if len(study.directions) > 1 else [study.best_trial]
