"""The whole method on CartPole-v1 with A2C, does its winner reproduce?: `python -m benchmarks.tuning_pipeline`.

From a deliberately poor default (a learning rate of 1e-5), 30 trials of 30 000 steps; the best three are raced on five
fresh seeds, the winner is tested against the default on five more. Then the winner's file is trained again: with the
test seeds, which must give the same scores to the last digit, and with five seeds that nothing has seen, whose mean
must lie in the 95 % prediction interval of the test. A second call continues what was interrupted. One core.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import optuna
import pandas as pd

from benchmarks import report
from tuning import results, statistics
from tuning.compare import Lines, job_of_file, run_jobs
from tuning.seeds import derived_seed
from tuning.study.pipeline import Tuned, tune

COMMAND = "python -m benchmarks.tuning_pipeline"
POOR = {"learning_rate": 1e-5}
N_TIMESTEPS, N_EVALUATIONS, TRIALS, SEEDS = 30_000, 10, 30, 5
NEW_SEEDS = [derived_seed(20_000 + index) for index in range(SEEDS)]


def retrain(winner: Path, seeds: Sequence[int], runs_dir: Path) -> list[float]:
    """The final return of a new run of the file with each seed; finished runs are kept."""
    jobs = [job_of_file(winner, seed, runs_dir) for seed in seeds]
    missing = [job for job in jobs if job.finished() is None]
    with Lines(missing) as watcher:
        run_jobs(missing, watcher, cores=1)
    runs = [job.finished() for job in jobs]
    assert None not in runs, f"a run failed; see {runs_dir}"
    table = results.runs(results.load([run for run in runs if run])).set_index("seed")
    return [float(table.loc[seed, "score"]) for seed in seeds]


def text(tuned: Tuned, again: Sequence[float], new: Sequence[float]) -> str:
    """The page."""
    winner = tuned.test["candidate"].iloc[0]
    tested = tuned.test_runs[tuned.test_runs["candidate"] == winner].set_index("seed")["score"]
    first = [float(value) for value in tested]
    low, high = statistics.prediction_interval(first, len(new))
    mean = float(statistics.mean(new))
    states = pd.Series([trial.state.name.lower() for trial in tuned.study.trials]).value_counts()
    rows = pd.DataFrame(
        {"test seed": tested.index.astype(str), "score in the test": first, "trained again": list(again)}
    )
    shown = ["candidate", "objective", "n", "failures", "mean", "std", "iqm", "iqm_low", "iqm_high", "auc"]
    counts = ", ".join(f"{n} {state}" for state, n in states.items())
    same = "identical" if first == list(again) else "NOT identical"
    inside = "inside" if low <= mean <= high else "OUTSIDE"
    parts = [
        "# The winner of a study, trained again",
        f"A2C on CartPole-v1, default with `learning_rate` {POOR['learning_rate']:g}. Search: {TRIALS} trials of "
        f"{N_TIMESTEPS:,} steps with one seed ({counts}), TPE, median pruner, the search space of "
        "`zoo_configs/a2c.yml`. Score: mean return of the final model's ten episodes; objective: the mean of the last "
        "three evaluations.",
        f"**Verdict: {winner} is {tuned.verdict.sentence}.**",
        f"Race, {tuned.config.race_seeds} seeds:",
        results.markdown(tuned.race[shown]),
        f"Test, {tuned.config.test_seeds} other seeds:",
        results.markdown(tuned.test[shown]),
        f"`winner.yml` trained again with the test seeds: {same}.",
        results.markdown(rows),
        f"Five new seeds ({', '.join(map(str, NEW_SEEDS))}): {', '.join(f'{value:.1f}' for value in new)}; mean "
        f"{mean:.1f}, which lies {inside} the 95 % prediction interval of the test, [{low:.1f}, {high:.1f}].",
        f"The winner:\n\n```yaml\n{_hyperparams(tuned)}```",
        report.provenance(COMMAND),
    ]
    return "\n\n".join(parts) + "\n"


def _hyperparams(tuned: Tuned) -> str:
    import yaml

    return yaml.safe_dump({"n_envs": tuned.winner.n_envs, "hyperparams": tuned.winner.hyperparams}, sort_keys=False)


def main() -> None:
    """Search, race, test, train again, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs") / "tuning_pipeline", help="where the study lies")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    tuned = tune(
        "a2c",
        "CartPole-v1",
        hyperparams=POOR,
        n_timesteps=N_TIMESTEPS,
        n_evaluations=N_EVALUATIONS,
        trials=TRIALS,
        race_seeds=SEEDS,
        test_seeds=SEEDS,
        study_name="a2c-CartPole-v1",
        runs_dir=arguments.runs_dir,
        display=Lines,
    )
    print(tuned.verdict.sentence, file=sys.stderr)
    seeds = [int(seed) for seed in tuned.test_runs["seed"].drop_duplicates()]
    again = retrain(tuned.winner_file, seeds, arguments.runs_dir / "again")
    new = retrain(tuned.winner_file, NEW_SEEDS, arguments.runs_dir / "new")
    report.write("tuning_pipeline.md", text(tuned, again, new))


if __name__ == "__main__":
    main()
