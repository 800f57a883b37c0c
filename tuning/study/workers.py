"""The worker processes of one command: started, watched, replaced when they die, stopped together."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import TrialState

from tuning.compare.child import THREAD_VARIABLES
from tuning.errors import TrainingFailed
from tuning.interruption import collected_signals
from tuning.study.address import StudyAddress
from tuning.study.storage import password_environment
from tuning.study.watching import StudyWatcher
from tuning.study.worker import INTERRUPTED_CODE, STOPPED, Callback, Objective, work

POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0  # between looks at the storage
GRACE_SECONDS = 10.0  # for workers that are told to stop
MAX_DEATHS_IN_A_ROW = 5  # times the number of workers: deaths without any trial having finished in between
ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")


def run_here(
    address: StudyAddress,
    study: optuna.Study,
    objective: Objective,
    callbacks: Sequence[Callback],
    watcher: StudyWatcher,
) -> None:
    """Run the study's trials in this process, one after the other.

    Args:
        address: where the study is.
        study: the same, with its sampler and pruner, from `address.open`.
        objective: one trial.
        callbacks: called after each trial; they may stop the study.
        watcher: is told what happens.

    Raises:
        KeyboardInterrupt: the interrupted trial waits again.
    """

    def report(study: optuna.Study, _: object) -> None:
        watcher.progressed(study, address.slots(study))

    try:
        while True:
            _recover(address, study, watcher, mine_ended=True)
            watcher.progressed(study, address.slots(study))
            if not work(study, objective, [*callbacks, report]):  # type: ignore[arg-type]
                return
            if not address.is_waiting(study) and not address.is_running(study):
                return
            time.sleep(LOOK_SECONDS)  # the last trials run elsewhere; one may be lost and come back
    except KeyboardInterrupt:
        _recover(address, study, watcher, mine_ended=True)
        raise


def run_workers(
    address: StudyAddress,
    command: Callable[[int], Sequence[str]],
    watcher: StudyWatcher,
    *,
    logs: Path,
    environment: Mapping[str, str] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Run the study's trials in worker processes until none is left.

    A worker that dies is noticed within a fraction of a second: its trial waits again and another worker is started.
    Trials that other machines run are waited for.

    Args:
        address: where the study is; it has been joined.
        command: the command line of a worker, by its index.
        watcher: is told what happens.
        logs: folder for what the workers print.
        environment: variables for the workers, besides those of this process.
        grace_seconds: how long workers may take to stop after an interruption before they are killed.

    Raises:
        TrainingFailed: workers die one after the other and no trial finishes.
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP; all workers have ended, their trials wait again.
    """
    crew = Crew(address, command, watcher, logs, environment or {})
    with collected_signals() as received:
        try:
            crew.run(received)
        finally:
            crew.stop(grace_seconds, received)
    if received:
        raise KeyboardInterrupt(f"{signal.Signals(received[0]).name} received")


class Crew:
    """The workers of one command.

    Args:
        address, command, watcher, logs, environment: as for `run_workers`.
    """

    def __init__(
        self,
        address: StudyAddress,
        command: Callable[[int], Sequence[str]],
        watcher: StudyWatcher,
        logs: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._address = address
        self._command = command
        self._watcher = watcher
        self._logs = logs
        self._environment = os.environ | ONE_THREAD | password_environment(address.url) | dict(environment)
        self._study = address.open()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._stopped = False  # by a callback of a worker
        self._deaths_in_a_row = 0
        self._finished = 0
        self._last_look = -LOOK_SECONDS
        logs.mkdir(parents=True, exist_ok=True)

    def run(self, received: Sequence[int]) -> None:
        """Until nothing is left to do, or a signal has been received."""
        _recover(self._address, self._study, self._watcher)
        while not received:
            ended = self._reap()
            if ended or time.monotonic() - self._last_look >= LOOK_SECONDS:
                if not self._look():
                    return
                self._last_look = time.monotonic()
            time.sleep(POLL_SECONDS)

    def stop(self, grace_seconds: float, received: Sequence[int]) -> None:
        """Ask all workers to stop, wait, kill what is left, and let their trials wait again."""
        if not self._running:
            return
        self._watcher.stopping(len(self._running))
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline and len(received) < 2:
            if all(process.poll() is not None for process in self._running.values()):
                break
            time.sleep(POLL_SECONDS)
        for process in self._running.values():
            _end(process)
        self._running.clear()
        _recover(self._address, self._study, self._watcher)

    def _look(self) -> bool:
        """See what there is to do, and start who does it; False when nothing is left."""
        _recover(self._address, self._study, self._watcher)
        trials = self._address.slots(self._study)
        finished = sum(trial.state.is_finished() for trial in trials)
        if finished > self._finished:
            self._finished, self._deaths_in_a_row = finished, 0
        self._watcher.progressed(self._study, trials)
        n_waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        if self._address.n_trials is None:
            n_waiting = self._address.n_jobs
        if not self._stopped:
            # those that were just started have not taken theirs yet; one too many finds nothing and ends
            for index in [index for index in range(self._address.n_jobs) if index not in self._running][:n_waiting]:
                self._start(index)
        waits_for_others = not self._stopped and any(trial.state == TrialState.RUNNING for trial in trials)
        return bool(self._running) or waits_for_others

    def _start(self, index: int) -> None:
        with (self._logs / f"worker-{index}.txt").open("ab") as log:
            # A session of its own: the terminal's Ctrl-C does not reach it, we pass it on; and whatever it has started
            # can be ended with it. Its standard input is the pipe by which it notices that we have ended.
            self._running[index] = subprocess.Popen(
                self._command(index),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        self._watcher.started(index, self._running[index].pid)

    def _reap(self) -> bool:
        """Take leave of the workers that have ended; whether there were any."""
        ended = [(index, process) for index, process in self._running.items() if process.poll() is not None]
        for index, process in ended:
            del self._running[index]
            code = _end(process)
            if code == STOPPED:
                self._stopped = True
            elif code != 0:
                self._died(index, code)
        return bool(ended)

    def _died(self, index: int, code: int) -> None:
        cause = _cause(code, self._logs / f"worker-{index}.txt")
        self._watcher.died(index, cause)
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= MAX_DEATHS_IN_A_ROW * self._address.n_jobs:
            raise TrainingFailed(
                f"{self._deaths_in_a_row} workers in a row died and no trial finished; the last one: {cause} "
                f"(what they printed is in {self._logs}); the same command continues the study"
            )


def _recover(address: StudyAddress, study: optuna.Study, watcher: StudyWatcher, mine_ended: bool = False) -> None:
    lost = address.recover(study, mine_ended=mine_ended)
    if lost:
        watcher.lost(lost)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Kill what is left of the worker's process group; its exit code."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    return process.wait()


def _cause(code: int, log: Path) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    if code == INTERRUPTED_CODE:
        return "interrupted by a SIGINT that was meant for it alone"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {code}"
