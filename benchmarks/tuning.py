"""What a study costs: `python -m benchmarks.tuning`.

Two figures: the wall time of a fixed set of equal trials with two worker processes over that with one, in turn; and
what a trial without any training takes beyond the construction of its model.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import optuna  # noqa: E402 - after the one-thread settings, which must come before NumPy

from benchmarks import report  # noqa: E402
from tuning.study.objective import Objective  # noqa: E402
from tuning.study.pipeline import open_folder  # noqa: E402
from tuning.study.plan import plan_study  # noqa: E402
from tuning.study.runner import run_study  # noqa: E402
from tuning.training import build_model  # noqa: E402

# Only what does not change how long a trial takes is searched.
EQUAL = {
    "n_steps": None,
    "normalize_advantage": None,
    "policy_kwargs.net_arch": None,
    "policy_kwargs.activation_fn": None,
}


def seconds_of_study(n_trials: int, n_timesteps: int, n_jobs: int) -> float:
    """Wall time of a search alone, from the command to the last trial."""
    with tempfile.TemporaryDirectory() as folder:
        config = plan_study(
            "a2c",
            "Pendulum-v1",
            trials=n_trials,
            n_timesteps=n_timesteps,
            n_evaluations=1,
            eval_episodes=1,
            space=EQUAL,
            sampler="random",
            pruner="none",
        )
        started = time.perf_counter()
        study = run_study(config, open_folder(config, folder), n_jobs)
        seconds = time.perf_counter() - started
        assert len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == n_trials
        return seconds


def overhead(n_trials: int) -> tuple[float, float]:
    """Milliseconds of a trial whose model is built and not trained, and of building it; medians."""
    config = plan_study("a2c", "CartPole-v1", trials=n_trials, n_timesteps=1, n_evaluations=1, eval_episodes=1)
    objective = Objective.from_config(config)
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder) / "study.journal"
        from tuning.study.storage import open_storage

        study = optuna.create_study(storage=open_storage(storage), direction="maximize")
        trials, models = [], []
        for _ in range(n_trials):
            started = time.perf_counter()
            study.optimize(objective, n_trials=1)
            trials.append(time.perf_counter() - started)
            started = time.perf_counter()
            build_model(config.base).get_env().close()  # type: ignore[union-attr]
            models.append(time.perf_counter() - started)
    return median(trials) * 1000, median(models) * 1000


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--n-timesteps", type=int, default=30_000, help="of each trial")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(given.repeats):
        for n_jobs, seconds in times.items():
            seconds.append(seconds_of_study(given.trials, given.n_timesteps, n_jobs))
    ratios = [two / one for one, two in zip(times[1], times[2], strict=True)]
    trial, model = overhead(30)
    text = "\n".join(
        [
            "# What a study costs\n",
            f"{given.trials} equal trials of {given.n_timesteps:,} steps (A2C, Pendulum-v1; start of the workers "
            f"included), medians [range] of {given.repeats} repetitions in turn:\n",
            "| workers | seconds |",
            "|---|---:|",
            *(f"| {n} | {median(t):.1f} [{min(t):.1f}, {max(t):.1f}] |" for n, t in times.items()),
            f"\nTwo workers take {median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] of one worker's time.\n",
            f"A trial of A2C on CartPole-v1 with one environment step and one evaluation episode takes {trial:.0f} ms, "
            f"building its model alone {model:.0f} ms (medians of 30; journal storage).\n",
            report.provenance(report.command("benchmarks.tuning")),
            "",
        ]
    )
    print(text)
    report.write("tuning.md", text)


if __name__ == "__main__":
    main()
