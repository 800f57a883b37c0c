"""One worker: takes trials until none is left. As a process: `python -m tuning.study.worker STUDYFILE --index I`.

The process is given the study's file and nothing else, so a worker on another machine is the same command.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuning.study.lost_trials import ENDED, INTERRUPTED, LOST
from tuning.study.slots import BudgetSpentError, SlotStudy

STOPPED = 3  # exit code: a callback stopped the study, no other worker is to take this one's place
INTERRUPTED_CODE = 130

Objective = Callable[[optuna.Trial], float | Sequence[float]]
Callback = Callable[[optuna.Study, FrozenTrial], None]


def work(study: SlotStudy, objective: Objective, callbacks: Iterable[Callback] = ()) -> bool:
    """Run trials until none is left or a callback stops the study.

    A trial that raises has failed; the next one follows.

    Args:
        study: where trials are taken from.
        objective: one trial.
        callbacks: called after each trial.

    Returns:
        True if none is left; False if it was stopped.

    Raises:
        KeyboardInterrupt: a trial was interrupted; it has failed, and is marked as to be repeated.
    """
    try:
        study.optimize(_Marked(objective), catch=(Exception,), callbacks=list(callbacks))
    except BudgetSpentError:
        return True
    except _TrialInterrupted as interrupted:
        study.tell(interrupted.number, state=TrialState.FAIL)
        raise KeyboardInterrupt(*interrupted.args) from interrupted
    return False


def run_worker(study: SlotStudy, objective: Objective, callbacks: Iterable[Callback] = ()) -> int:
    """Work as a process of its own: ends with its parent.

    Returns:
        The exit code.
    """
    try:
        return 0 if work(study, objective, callbacks) else STOPPED
    except KeyboardInterrupt:
        return INTERRUPTED_CODE


def end_with_parent() -> None:
    """Kill this process and those it started as soon as the pipe at its standard input closes.

    The supervisor holds the other end and never writes: the pipe closes when the supervisor ends, however it ends.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


class _TrialInterrupted(BaseException):
    """KeyboardInterrupt, by a name that Optuna does not know: of that one it logs the traceback as of a failure.

    Args:
        number: the trial's.
        message: the KeyboardInterrupt's.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class _Marked:
    """The objective, with a note in the trial about how it ended: what has none was lost."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def __call__(self, trial: optuna.Trial) -> float | Sequence[float]:
        try:
            values = self._objective(trial)
        except KeyboardInterrupt as interruption:
            trial.set_user_attr(LOST, INTERRUPTED)
            raise _TrialInterrupted(trial.number, str(interruption)) from interruption
        except optuna.TrialPruned:
            trial.set_user_attr(ENDED, "pruned")
            raise
        except Exception:
            trial.set_user_attr(ENDED, "raised")
            raise
        trial.set_user_attr(ENDED, "returned")
        return values


def main(arguments: Sequence[str] | None = None) -> int:
    """Work on the study that a file describes.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m tuning.study.worker", description=__doc__)
    parser.add_argument("file", type=Path, help="the study's file")
    parser.add_argument("--index", type=int, required=True, help="which of the study's workers this is, from 0")
    parser.add_argument("--supervised", action="store_true", help="end when standard input closes")
    options = parser.parse_args(arguments)
    if options.supervised:
        end_with_parent()
    from tuning.study import runner  # waits for torch

    return runner.work_on_file(options.file, options.index)


def _command(file: Path, index: int) -> list[str]:
    return [sys.executable, "-m", "tuning.study.worker", str(file), "--index", str(index), "--supervised"]


def command(file: Path) -> Callable[[int], list[str]]:
    """The command line of each worker of a study."""

    def of(index: int) -> list[str]:
        return _command(file, index)

    return of


if __name__ == "__main__":
    sys.exit(main())
