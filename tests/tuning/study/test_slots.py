"""The budget of trials: exact, and taken over by retries."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tuning.errors import UsageError
from tuning.study.address import StudyAddress
from tuning.study.slots import BudgetSpentError, fill, slots, waiting
from tuning.study.worker import work


def address(tmp_path, **settings):
    return StudyAddress(url=str(tmp_path / "a.journal"), name="a", **settings)


def trial_of(number, state=TrialState.WAITING, retries=()):
    trial = create_trial(
        state=state,
        values=[1.0] if state == TrialState.COMPLETE else None,
        system_attrs={"retry_history": list(retries)} if retries else None,
    )
    trial.number = number
    return trial


def test_a_retry_takes_the_place_of_the_trials_before_it():
    failed, complete = TrialState.FAIL, TrialState.COMPLETE
    # slot 1 was lost twice: trial 3 took it over from 1, and 4 from 3
    trials = [
        trial_of(0, complete),
        trial_of(1, failed),
        trial_of(2),
        trial_of(3, failed, [1]),
        trial_of(4, retries=[1, 3]),
    ]
    assert [trial.number for trial in slots(trials, None)] == [0, 4, 2]
    assert [trial.number for trial in waiting(trials, None)] == [4, 2]


def test_what_was_added_beyond_the_budget_is_never_taken_before_a_retry():
    # two machines that start at the same moment behind a proxy may both fill a budget of 2; then trial 0 is lost
    trials = [trial_of(0, TrialState.FAIL), trial_of(1), trial_of(2), trial_of(3), trial_of(4, retries=[0])]
    assert [trial.number for trial in slots(trials, 2)] == [4, 1]


def test_joining_twice_adds_no_trial_and_more_budget_adds_the_difference(tmp_path):
    prepared = []
    for n_trials, expected in [(3, 3), (3, 3), (5, 5), (2, 5)]:
        study = address(tmp_path, n_trials=n_trials).join(["maximize"], prepared.append)
        assert len(study.trials) == expected
    assert len(prepared) == 1


def test_what_is_enqueued_first_is_part_of_the_budget_and_run_first(tmp_path):
    place = address(tmp_path, n_trials=3)
    place.join(["minimize"], lambda study: study.enqueue_trial({"x": 0.25}))
    study = place.open(sampler=optuna.samplers.RandomSampler(seed=0))
    assert work(study, lambda trial: trial.suggest_float("x", 0, 1))
    values = [trial.value for trial in study.trials]
    assert len(values) == 3
    assert values[0] == 0.25


def test_the_budget_ends_the_work_and_no_further_trial_is_begun(tmp_path):
    place = address(tmp_path, n_trials=2)
    place.join(["minimize"])
    study = place.open()
    assert work(study, lambda trial: 1.0)
    with pytest.raises(BudgetSpentError):
        study.ask()
    assert len(study.trials) == 2


def test_without_a_budget_a_callback_ends_the_work(tmp_path):
    place = address(tmp_path, n_trials=None)
    place.join(["minimize"])

    def after_three(study, trial):
        if trial.number == 2:
            study.stop()

    assert not work(place.open(), lambda trial: 1.0, [after_three])
    assert len(place.open().trials) == 3


def test_slots_do_not_change_what_a_sampler_suggests(tmp_path):
    # the waiting trials of the budget must look to TPE and to the grid as if they were not there
    def objective(trial):
        return trial.suggest_float("x", -5, 5) ** 2 + trial.suggest_int("k", 0, 3)

    place = address(tmp_path, n_trials=15)
    place.join(["minimize"])
    ours = place.open(sampler=optuna.samplers.TPESampler(seed=1, multivariate=True, n_startup_trials=5))
    work(ours, objective)
    bare = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1, multivariate=True, n_startup_trials=5))
    bare.optimize(objective, n_trials=15)
    assert [trial.params for trial in ours.trials] == [trial.params for trial in bare.trials]


def test_a_grid_is_walked_whole(tmp_path):
    place = address(tmp_path, n_trials=6)
    place.join(["minimize"])
    study = place.open(sampler=optuna.samplers.GridSampler({"k": [0, 1, 2], "m": [0, 1]}, seed=0))
    work(study, lambda trial: float(trial.suggest_int("k", 0, 2) + trial.suggest_int("m", 0, 1)))
    assert {(trial.params["k"], trial.params["m"]) for trial in study.trials} == {
        (k, m) for k in range(3) for m in range(2)
    }


def test_a_study_with_other_objectives_is_not_joined(tmp_path):
    address(tmp_path, n_trials=1).join(["maximize"])
    with pytest.raises(UsageError, match="exists and has the objectives"):
        address(tmp_path, n_trials=1).join(["maximize", "minimize"])


def test_filling_counts_waiting_trials(tmp_path):
    study = address(tmp_path, n_trials=2).join(["maximize"])
    fill(study, 2)
    assert len(study.trials) == 2
