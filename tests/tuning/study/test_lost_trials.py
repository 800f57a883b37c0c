"""Trials of dead processes are failed and repeated once each, whoever looks and however often."""

import os
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from tuning.study.address import StudyAddress
from tuning.study.lost_trials import DEATHS, LOST, recover
from tuning.study.processes import is_dead, started, this_process
from tuning.study.slots import PROCESS, history
from tuning.study.worker import work


def place_at(url, n_trials=2, **settings):
    return StudyAddress(url=url, name="study", n_trials=n_trials, **settings)


def a_dead_process():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = this_process() | {"pid": child.pid, "started": started(child.pid)}
    child.kill()
    child.wait()
    return process


def take(place, process):
    """A trial that this process has taken and begun."""
    study = place.open(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    place.storage.set_trial_user_attr(trial._trial_id, PROCESS, process)
    trial.suggest_float("x", 0, 1)
    return trial


def test_a_reused_process_number_is_not_mistaken_for_the_process():
    mine = this_process()
    assert is_dead(mine) is False
    assert is_dead(mine | {"started": mine["started"] - 1})
    assert is_dead(mine | {"boot": "before the restart"})
    assert is_dead(mine | {"host": "another-machine"}) is None


def test_a_process_that_ended_but_was_not_waited_for_counts_as_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = this_process() | {"pid": child.pid, "started": started(child.pid)}
    deadline = time.monotonic() + 10
    while not is_dead(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_dead(process)
    child.wait()


def test_a_lost_trial_fails_with_its_cause_and_waits_once_more_with_its_parameters(storage_url):
    place = place_at(storage_url)
    study = place.join(["minimize"])
    lost = take(place, a_dead_process())
    assert place.recover(study) == [0]
    assert place.recover(study) == []
    first, _, again = study.trials
    assert first.state == TrialState.FAIL
    assert "ended without finishing it" in first.user_attrs[LOST]
    assert again.state == TrialState.WAITING
    assert again.params == lost.params
    assert history(again) == [0]
    work(place.open(), lambda trial: trial.suggest_float("x", 0, 1))
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert study.trials[2].value == lost.params["x"]


def test_a_trial_of_a_living_or_of_another_machines_process_is_left_alone(storage_url):
    place = place_at(storage_url)
    study = place.join(["minimize"])
    take(place, this_process())
    take(place, a_dead_process() | {"host": "another-machine"})
    assert place.recover(study) == []
    # but a process that knows that it runs none has lost what it had taken
    assert place.recover(study, mine_ended=True) == [0]


def test_many_that_recover_at_the_same_moment_make_one_successor(storage_url):
    place = place_at(storage_url)
    study = place.join(["minimize"])
    take(place, a_dead_process())
    code = (
        "import sys, time; from tuning.study.address import StudyAddress\n"
        f"place = StudyAddress(url={storage_url!r}, name='study', n_trials=2)\n"
        "study = place.open()\n"
        "time.sleep(max(0.0, float(sys.argv[1]) - time.time()))\n"
        "place.recover(study)\n"
    )
    start = str(time.time() + 2.5)
    processes = [subprocess.Popen([sys.executable, "-c", code, start]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(study.trials) == 3
    assert sum(trial.state == TrialState.WAITING for trial in study.trials) == 2


def test_a_kill_between_failing_and_repeating_is_made_good_by_the_next_call(storage_url, monkeypatch):
    place = place_at(storage_url)
    study = place.join(["minimize"])
    take(place, a_dead_process())

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study, "add_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            place.recover(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    place.recover(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]


def test_a_trial_that_kills_its_process_is_not_repeated_for_ever(tmp_path):
    place = place_at(str(tmp_path / "a.journal"), n_trials=1, max_retries=2)
    study = place.join(["minimize"])
    for _ in range(3):
        take(place, a_dead_process())
        place.recover(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3
    assert [trial.system_attrs.get(DEATHS, 0) for trial in study.trials] == [0, 1, 2]
    assert not place.is_waiting(study)


def test_an_interruption_gives_the_trial_back_and_counts_as_no_death(tmp_path):
    place = place_at(str(tmp_path / "a.journal"), n_trials=1, max_retries=0)
    study = place.join(["minimize"])

    def interrupted(trial):
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            work(place.open(), interrupted)
        place.recover(study)
    assert place.is_waiting(study)
    assert work(place.open(), lambda trial: 7.0)
    assert [trial.value for trial in place.slots(study)] == [7.0]


def test_a_trial_that_raises_or_returns_nan_is_a_result_and_is_not_repeated(tmp_path):
    place = place_at(str(tmp_path / "a.journal"), n_trials=2)
    study = place.join(["minimize"])

    def objective(trial):
        if trial.number == 0:
            raise ZeroDivisionError
        return float("nan")

    work(place.open(), objective)
    place.recover(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.FAIL]


def test_a_machine_that_vanishes_is_noticed_by_its_heartbeat(postgres_url):
    place = place_at(postgres_url, heartbeat_seconds=1)
    study = place.join(["minimize"])
    trial = take(place, this_process() | {"host": "another-machine"})
    place.storage.record_heartbeat(trial._trial_id)
    assert place.recover(study) == []
    time.sleep(4.5)  # three missed heartbeats
    place.recover(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]
    assert history(study.trials[2]) == [0]


def test_a_slot_of_a_grid_keeps_its_point_when_it_is_repeated(tmp_path):
    place = place_at(str(tmp_path / "a.journal"), n_trials=2)
    study = place.join(["minimize"])
    grid = {"k": [0, 1]}
    taker = place.open(sampler=optuna.samplers.GridSampler(grid, seed=0))
    trial = taker.ask()
    place.storage.set_trial_user_attr(trial._trial_id, PROCESS, a_dead_process())
    recover(study, place.storage, place.url)
    work(place.open(sampler=optuna.samplers.GridSampler(grid, seed=0)), lambda trial: trial.suggest_int("k", 0, 1))
    assert sorted(trial.params["k"] for trial in place.slots(study)) == [0, 1]
    assert os.path.exists(tmp_path / "a.journal")
