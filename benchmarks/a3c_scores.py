"""Scores of A3C with the settings of zoo_configs: `python -m benchmarks.a3c_scores`.

Ten seeds on CartPole-v1, five on Pendulum-v1, two workers each, one run at a time. The score of a run is the mean
return of 20 episodes of its final model, deterministic actions, on an environment of its own seed.
"""

import argparse
import sys
from pathlib import Path

import tuning
from benchmarks import report
from tuning import results

TARGETS = {
    # environment: (score to reach, seeds, seeds that must reach it)
    "CartPole-v1": (475.0, 10, 9),
    "Pendulum-v1": (-250.0, 5, 4),
}
EPISODES = 20


def train(env_id: str, seed: int, runs_dir: Path) -> None:
    """One run, unless it is there already."""
    for run in tuning.find_runs(runs_dir):
        about = run.read()
        if (about["env"], about["seed"]) == (env_id, seed) and run.status["status"] == "finished":
            return
    tuning.train("a3c", env_id, seed=seed, runs_dir=runs_dir, eval_episodes=EPISODES, progress=False)


def score(run: tuning.RunFolder) -> float:
    """Mean return of the final model's evaluation."""
    evaluations = run.evaluations()
    last = evaluations[evaluations["num_timesteps"] == evaluations["num_timesteps"].max()]
    return float(last["return"].mean())


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/a3c_scores"), help="where the runs are kept")
    arguments = parser.parse_args()
    parts = [
        "# Scores of A3C\n",
        f"Settings of `zoo_configs/a3c.yml`, two workers. Score: mean return of {EPISODES} episodes of the final "
        "model, deterministic actions. The interval of the table "
        "is the 95 % stratified bootstrap of the interquartile mean.\n",
    ]
    for env_id, (target, n_seeds, needed) in TARGETS.items():
        for seed in range(n_seeds):
            train(env_id, seed, arguments.runs_dir)
            print(f"{env_id}, seed {seed}: done", file=sys.stderr)
        runs = [run for run in tuning.find_runs(arguments.runs_dir) if run.read()["env"] == env_id]
        scores = [score(run) for run in runs if run.status["status"] == "finished"]
        reached = sum(value >= target for value in scores)
        parts.append(
            f"* {env_id}: at least {target:g} in {reached} of {len(scores)} seeds ({needed} wanted); "
            f"scores {', '.join(f'{value:.1f}' for value in sorted(scores))}."
        )
    summary = results.summary(
        results.load(arguments.runs_dir, thresholds={env_id: target for env_id, (target, _, _) in TARGETS.items()})
    )
    parts += ["", results.render(summary, "markdown"), "", report.provenance("python -m benchmarks.a3c_scores"), ""]
    text = "\n".join(parts)
    print(text)
    report.write("a3c_scores.md", text)


if __name__ == "__main__":
    main()
