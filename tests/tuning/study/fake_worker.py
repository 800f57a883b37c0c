"""A worker whose trials cost nothing: `python fake_worker.py URL NAME N_TRIALS INDEX [SECONDS]`; also in-process."""

import sys
import time

import optuna

from tuning.study.address import StudyAddress
from tuning.study.worker import end_with_parent, run_worker


class Parabola:
    """(x - 3)^2, with intermediate values; the same x in a failed trial fails again.

    Args:
        seconds: how long a trial takes.
        folder: where to note each trial that ran to its end.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    def __call__(self, trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -10, 10)
        for step in range(3):
            time.sleep(self._seconds / 3)
            trial.report(x + step, step)
        if x < -9.5:
            raise RuntimeError("x is out of reach")
        return (x - 3) ** 2


def main() -> int:
    url, name, n_trials, index, *rest = sys.argv[1:]
    end_with_parent()
    seconds = float(rest[0]) if rest else 0.0
    address = StudyAddress(url=url, name=name, n_trials=int(n_trials), n_jobs=2)
    study = address.open(sampler=optuna.samplers.RandomSampler(seed=int(index)))
    return run_worker(study, Parabola(seconds))


if __name__ == "__main__":
    sys.exit(main())
