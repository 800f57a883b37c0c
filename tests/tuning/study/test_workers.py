"""Worker processes: an exact budget, deaths made good, everything stopped together."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.tuning.study.fake_worker import Parabola
from tuning.errors import TrainingFailed
from tuning.study import workers
from tuning.study.address import StudyAddress
from tuning.study.lost_trials import is_lost
from tuning.study.slots import history
from tuning.study.watching import StudyWatcher
from tuning.study.workers import run_here, run_workers

FAKE = Path(__file__).with_name("fake_worker.py")


class Killer(StudyWatcher):
    """Kills workers: most at a random moment of their trials, some while they still start; notes what it is told.

    Args:
        kills: how many.
    """

    def __init__(self, kills: int = 0) -> None:
        self._kills_left = kills
        self._random = random.Random(0)
        self._new: set[int] = set()  # workers that nothing has been decided about
        self.causes: list[str] = []
        self.lost_numbers: list[int] = []

    def started(self, index, pid):
        self._new.add(pid)
        if self._random.random() < 0.2:
            self._kill_after(pid, self._random.uniform(0.0, 0.5))

    def progressed(self, study, trials):
        for trial in trials:
            pid = trial.user_attrs.get("process", {}).get("pid")
            if trial.state == TrialState.RUNNING and pid in self._new:
                self._kill_after(pid, self._random.uniform(0.0, 0.4))

    def _kill_after(self, pid, seconds):
        self._new.discard(pid)
        if self._kills_left:
            self._kills_left -= 1
            threading.Timer(seconds, os.kill, [pid, signal.SIGKILL]).start()

    def died(self, index, cause):
        self.causes.append(cause)

    def lost(self, numbers):
        self.lost_numbers += numbers


def place_at(url, n_trials, n_jobs=2, **settings):
    return StudyAddress(url=url, name="study", n_trials=n_trials, n_jobs=n_jobs, **settings)


def commands(place, seconds=0.0):
    return lambda index: [
        *(sys.executable, str(FAKE), place.url, place.name, str(place.n_trials), str(index), str(seconds))
    ]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))


def check_whole(place, study, n_trials):
    """Every slot has ended once, every trial is whole, every loss was repeated, and no number was given twice."""
    slots = place.slots(study)
    assert len(slots) == n_trials
    assert all(trial.state.is_finished() for trial in study.trials)
    firsts = Counter((*history(trial), trial.number)[0] for trial in slots)
    assert set(firsts.values()) == {1}
    for trial in study.trials:
        if trial.state == TrialState.COMPLETE:
            assert trial.value == (trial.params["x"] - 3) ** 2
            assert trial.intermediate_values == {step: trial.params["x"] + step for step in range(3)}
            assert trial.datetime_start is not None
            assert trial.datetime_complete is not None
    repeated = Counter(number for trial in study.trials for number in history(trial)[-1:])
    assert all(count == 1 for count in repeated.values())
    final = {trial.number for trial in slots}
    assert {trial.number for trial in study.trials if is_lost(trial)} - final == set(repeated)


def test_two_workers_share_an_exact_budget(storage_url, tmp_path):
    place = place_at(storage_url, 12)
    study = place.join(["minimize"])
    run_workers(place, commands(place, 0.1), StudyWatcher(), logs=tmp_path / "logs")
    check_whole(place, study, 12)
    assert len(study.trials) == 12
    assert len({trial.user_attrs["process"]["pid"] for trial in study.trials}) == 2


def test_workers_killed_at_random_twenty_times_leave_no_duplicate_and_no_half_trial(storage_url, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.05)
    place = place_at(storage_url, 80, n_jobs=2, max_retries=20)
    study = place.join(["minimize"])
    killer = Killer(kills=20)
    run_workers(place, commands(place, 0.15), killer, logs=tmp_path / "logs")
    assert len(killer.causes) == 20
    assert set(killer.causes) == {"killed by SIGKILL (out of memory?)"}
    check_whole(place, study, 80)
    # and it continues: a larger budget adds what is missing
    larger = place_at(storage_url, 83)
    larger.join(["minimize"])
    run_workers(larger, commands(larger), StudyWatcher(), logs=tmp_path / "logs")
    check_whole(larger, study, 83)


def test_when_everything_is_killed_the_same_command_continues(storage_url, tmp_path):
    code = (
        "import sys; from tests.tuning.study.test_workers import *\n"
        f"place = place_at({storage_url!r}, 30)\n"
        "place.join(['minimize'])\n"
        f"run_workers(place, commands(place, 0.3), StudyWatcher(), logs=Path({str(tmp_path / 'logs')!r}))\n"
    )
    place = place_at(storage_url, 30)
    command = subprocess.Popen([sys.executable, "-c", code])
    study = place.join(["minimize"])
    wait_for(lambda: any(trial.state == TrialState.COMPLETE for trial in study.trials))
    wait_for(lambda: sum(trial.state == TrialState.RUNNING for trial in study.trials) == 2)
    pids = {t.user_attrs["process"]["pid"] for t in study.trials if t.state == TrialState.RUNNING}
    command.kill()
    command.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))  # they end with their parent
    before = sum(trial.state == TrialState.COMPLETE for trial in study.trials)
    run_workers(place, commands(place), StudyWatcher(), logs=tmp_path / "logs")
    check_whole(place, study, 30)
    assert before >= 1
    assert 1 <= sum(is_lost(trial) for trial in study.trials) <= 2  # at most the running trials were lost


def test_ctrl_c_stops_all_workers_and_the_same_call_continues(tmp_path):
    place = place_at(str(tmp_path / "a.journal"), 6)
    study = place.join(["minimize"])

    class Interrupter(StudyWatcher):
        def progressed(self, study, trials):
            if sum(trial.state == TrialState.RUNNING for trial in trials) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_workers(place, commands(place, 3.0), Interrupter(), logs=tmp_path / "logs")
    assert not any(trial.state == TrialState.RUNNING for trial in study.trials)
    run_workers(place, commands(place), StudyWatcher(), logs=tmp_path / "logs")
    check_whole(place, study, 6)


def test_a_worker_that_is_interrupted_alone_is_replaced_and_the_study_goes_to_its_end(tmp_path):
    # an exit like Ctrl-C's must not pass for a budget that is spent: a race would begin over half a study
    place = place_at(str(tmp_path / "a.journal"), 4)
    study = place.join(["minimize"])

    class Once(Killer):
        def progressed(self, study, trials):
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            if running and not self.causes:
                os.kill(running[0].user_attrs["process"]["pid"], signal.SIGINT)

    watcher = Once()
    run_workers(place, commands(place, 2.0), watcher, logs=tmp_path / "logs")
    assert "interrupted by a SIGINT" in watcher.causes[0]
    check_whole(place, study, 4)


def test_workers_share_an_exact_budget_through_the_proxy_before_a_database(postgres_url, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = f"from tuning.study.storage import serve; serve({postgres_url!r}, '127.0.0.1', {port})"
    proxy = subprocess.Popen([sys.executable, "-c", code])
    try:
        place = place_at(f"grpc://127.0.0.1:{port}", 8)
        study = place.join(["minimize"])
        killer = Killer(kills=1)
        run_workers(place, commands(place, 0.3), killer, logs=tmp_path / "logs")
        check_whole(place, study, 8)
        place.storage.close()
    finally:
        proxy.kill()
        proxy.wait()


def test_workers_that_cannot_even_start_end_the_study_with_their_cause(tmp_path):
    place = place_at(str(tmp_path / "a.journal"), 6)
    place.join(["minimize"])
    broken = [sys.executable, "-c", "raise SystemExit('no such module')"]
    with pytest.raises(TrainingFailed, match=r"10 workers in a row died.*no such module"):
        run_workers(place, lambda index: broken, StudyWatcher(), logs=tmp_path / "logs")


def test_one_worker_runs_in_the_calling_process_and_repeats_itself(tmp_path):
    found = []
    for name in ("a", "b"):
        place = place_at(str(tmp_path / name), 5, n_jobs=1)
        place.join(["minimize"])
        study = place.open(sampler=optuna.samplers.TPESampler(seed=3))
        run_here(place, study, Parabola(), [], StudyWatcher())
        assert {trial.user_attrs["process"]["pid"] for trial in study.trials} == {os.getpid()}
        found.append([trial.params for trial in study.trials])
    assert found[0] == found[1]


def test_an_interruption_in_the_calling_process_gives_the_trial_back(tmp_path):
    place = place_at(str(tmp_path / "a"), 3, n_jobs=1)
    study = place.join(["minimize"])

    def interrupted(trial):
        if trial.number == 1:
            raise KeyboardInterrupt
        return Parabola()(trial)

    with pytest.raises(KeyboardInterrupt):
        run_here(place, place.open(), interrupted, [], StudyWatcher())
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "WAITING", "WAITING"]
    run_here(place, place.open(), Parabola(), [], StudyWatcher())
    check_whole(place, study, 3)


def test_two_machines_with_run_directories_of_their_own_share_one_database(postgres_url, tmp_path):
    code = (
        "import sys; from tests.tuning.study.test_workers import *\n"
        "import tuning.study.processes as processes\n"
        "processes.socket.gethostname = lambda: sys.argv[1]\n"  # so that neither sees the other's processes
        f"place = place_at({postgres_url!r}, 16, n_jobs=1)\n"
        "place.join(['minimize'])\n"
        "run_here(place, place.open(), Parabola(0.2), [], StudyWatcher())\n"
    )
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    machines = [subprocess.Popen([sys.executable, "-c", code, folder.name], cwd=folder) for folder in folders]
    assert [machine.wait() for machine in machines] == [0, 0]
    place = place_at(postgres_url, 16)
    study = place.join(["minimize"])
    check_whole(place, study, 16)
    assert len(study.trials) == 16
    hosts = Counter(trial.user_attrs["process"]["host"] for trial in study.trials)
    assert set(hosts) == {"first", "second"}


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
