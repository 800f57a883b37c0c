"""Scores of the asynchronous methods with the settings of zoo_configs: `python -m benchmarks.async_scores`.

Ten seeds each (five on Pendulum), two workers, one run at a time. The score of a run is the mean return of 20 episodes
of its final model, deterministic actions, on an environment of its own seed. Runs that are there already are kept: an
interrupted benchmark goes on where it stopped.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import tuning
from benchmarks import report
from tuning import statistics

EPISODES = 20


@dataclass(frozen=True)
class Target:
    """What one method is to reach in one environment.

    Attributes:
        algo: registry key.
        env_id: environment.
        score: return that counts as solved.
        needed: seeds that must reach it; None where nothing is asked (a comparison).
        n_seeds: runs.
        hyperparams: over those of the zoo.
        label: of the row.
    """

    algo: str
    env_id: str
    score: float
    needed: int | None
    n_seeds: int = 10
    hyperparams: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""


TARGETS = {
    "a3c-cartpole": Target("a3c", "CartPole-v1", 475.0, 10),
    "a3c-acrobot": Target("a3c", "Acrobot-v1", -100.0, 10),
    "a3c-pendulum": Target("a3c", "Pendulum-v1", -250.0, 4, n_seeds=5),
    "q-cartpole": Target("asyncqlearning", "CartPole-v1", 475.0, 8),
    "sarsa-cartpole": Target("asyncsarsa", "CartPole-v1", 475.0, 8),
    "nstepq-cartpole": Target("asyncnstepq", "CartPole-v1", 475.0, 8),
}


def folder(runs_dir: Path, name: str) -> Path:
    """Where the runs of one target lie: apart, so that variants of one algorithm do not mix."""
    return runs_dir / name


def train(target: Target, seed: int, runs_dir: Path) -> None:
    """One run, unless it is there already."""
    for run in tuning.find_runs(runs_dir):
        if run.read()["seed"] == seed and run.status["status"] == "finished":
            return
    tuning.train(
        target.algo,
        target.env_id,
        seed=seed,
        hyperparams=target.hyperparams,
        runs_dir=runs_dir,
        eval_episodes=EPISODES,
        progress=False,
    )


def score(run: tuning.RunFolder) -> float:
    """Mean return of the final model's evaluation."""
    evaluations = run.evaluations()
    last = evaluations[evaluations["num_timesteps"] == evaluations["num_timesteps"].max()]
    return float(last["return"].mean())


def row(target: Target, runs: Sequence[tuning.RunFolder]) -> str:
    """One line of the table."""
    scores = np.array([score(run) for run in runs])
    low, high, n = statistics.interval(scores, statistics.iqm)
    budget = runs[0].status["num_timesteps"]
    reached = int((scores >= target.score).sum())
    wanted = "" if target.needed is None else f"{target.needed} of {target.n_seeds}"
    cells = [
        f"{target.algo}{target.label}",
        target.env_id,
        f"{budget:,}",
        f"{statistics.iqm(scores):.1f} [{low:.1f}, {high:.1f}]",
        f"{scores.mean():.1f}",
        f"{scores.min():.1f} to {scores.max():.1f}",
        f"{target.score:g}",
        f"{reached} of {n}",
        wanted,
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/async_scores"), help="where the runs are kept")
    parser.add_argument("--only", nargs="+", choices=list(TARGETS), default=list(TARGETS), metavar="NAME")
    parser.add_argument("--table", action="store_true", help="train nothing; write the table of what is there")
    arguments = parser.parse_args()
    if not arguments.table:
        todo = [(name, seed) for name in arguments.only for seed in range(TARGETS[name].n_seeds)]
        for name, seed in tqdm(todo, unit="run"):
            train(TARGETS[name], seed, folder(arguments.runs_dir, name))
    rows = []
    for name, target in TARGETS.items():
        runs = [run for run in tuning.find_runs(folder(arguments.runs_dir, name)) if run.status["status"] == "finished"]
        if runs:
            rows.append(row(target, runs))
    text = "\n".join(
        [
            "# Scores of the asynchronous methods\n",
            f"Settings of `zoo_configs`, two workers. Score of a run: mean return of {EPISODES} episodes of the final "
            "model, deterministic actions. IQM with its 95 % bootstrap interval over runs.\n",
            "| algo | environment | steps | IQM [95 %] | mean | range | target | reached | wanted |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            report.provenance("python -m benchmarks.async_scores"),
            "",
        ]
    )
    print(text)
    print(f"{len(rows)} of {len(TARGETS)} rows are there.", file=sys.stderr)
    report.write("async_scores.md", text)


if __name__ == "__main__":
    main()
