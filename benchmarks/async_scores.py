"""Scores of the asynchronous methods with the settings of zoo_configs: `python -m benchmarks.async_scores`.

Ten seeds each, two workers, one run at a time. The score of a run is the mean return of 20 episodes of its final model,
deterministic actions, on environments seeded apart from training. Finished runs with today's settings are kept: an
interrupted benchmark goes on where it stopped, and runs of settings that have changed since are left out of the table.
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
from tuning.config import RunConfig, resolve

EPISODES = 20
MASKED = "actorzoo/MaskedCartPole-v0"


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
        note: what a reader of the row should know.
    """

    algo: str
    env_id: str
    score: float
    needed: int | None
    n_seeds: int = 10
    hyperparams: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    note: str = ""


SECOND_SEARCH = (
    "The settings that a first search found reached the target with 3 of seeds 0 to 5 and were given up; these come "
    "from a second search, on other seeds."
)
LUNAR_LANDER_SEARCH = (
    "The best of 17 settings, with a seed or two each: 6 on seed 0, which is in the row, the others on 100 and 101; "
    "13 of them for half the steps."
)
ONE_TRIED = "The first setting tried, on seeds 100 and 101 (one-step Q: 100 alone, for half the steps)."
LSTM_SEARCH = "Chosen from two settings, both on seed 100, which is not in the row."
WITHOUT_MEMORY = {"policy": "MlpPolicy", "policy_kwargs": None}
TARGETS = {
    "a3c-cartpole": Target("a3c", "CartPole-v1", 475.0, 10),
    "a3c-acrobot": Target("a3c", "Acrobot-v1", -100.0, 10),
    "a3c-lunarlander": Target("a3c", "LunarLander-v3", 200.0, 7, note=LUNAR_LANDER_SEARCH),
    "a3c-pendulum": Target("a3c", "Pendulum-v1", -250.0, 8),
    "q-cartpole": Target("asyncqlearning", "CartPole-v1", 475.0, 8),
    "sarsa-cartpole": Target("asyncsarsa", "CartPole-v1", 475.0, 8, note=SECOND_SEARCH),
    "nstepq-cartpole": Target("asyncnstepq", "CartPole-v1", 475.0, 8, note=SECOND_SEARCH),
    "q-lunarlander": Target("asyncqlearning", "LunarLander-v3", 200.0, None, note=ONE_TRIED),
    "sarsa-lunarlander": Target("asyncsarsa", "LunarLander-v3", 200.0, None, note=ONE_TRIED),
    "nstepq-lunarlander": Target("asyncnstepq", "LunarLander-v3", 200.0, None, note=ONE_TRIED),
    "lstm-masked": Target("a3c", MASKED, 400.0, None, label=" (LSTM)", note=LSTM_SEARCH),
    "mlp-masked": Target(
        "a3c",
        MASKED,
        400.0,
        None,
        hyperparams=WITHOUT_MEMORY,
        label=" (no memory)",
        note="The LSTM's settings; none were searched for it.",
    ),
}


def planned(target: Target, seed: int) -> RunConfig:
    """One run of a target. It is evaluated at its end alone, which is all that the score needs."""
    config = resolve(
        target.algo, target.env_id, seed=seed, hyperparams=target.hyperparams, eval_episodes=EPISODES, eval_freq=1
    )
    return config.model_copy(update={"eval_freq": config.n_timesteps})


def finished_runs(target: Target, runs_dir: Path) -> dict[int, tuning.RunFolder]:
    """By seed, what is there of a target with the settings as they are now."""
    found: dict[int, tuning.RunFolder] = {}
    wanted = planned(target, 0).to_data() | {"seed": None}
    for run in tuning.find_runs(runs_dir):
        config = run.config()
        seed = config["seed"]
        if run.status["status"] == "finished" and config | {"seed": None} == wanted and seed < target.n_seeds:
            found.setdefault(seed, run)
    return dict(sorted(found.items()))


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


def page(runs: Mapping[str, Sequence[tuning.RunFolder]]) -> str:
    """The table, a line to a target that has runs, and below it each seed's score and the notes."""
    there = [(TARGETS[name], runs[name]) for name in TARGETS if runs.get(name)]
    lines = [
        "# Scores of the asynchronous methods\n",
        f"Settings of `zoo_configs`, two workers. Score of a run: mean return of {EPISODES} episodes of the final "
        "model, deterministic actions. IQM with its 95 % bootstrap interval over runs.\n",
        "| algo | environment | steps | IQM [95 %] | mean | range | target | reached | wanted |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *(row(target, of_target) for target, of_target in there),
        "",
        "Scores by seed, in order:\n",
        *(
            f"* {target.algo}{target.label}, {target.env_id}: {', '.join(f'{score(run):.1f}' for run in of_target)}."
            + (f" {target.note}" if target.note else "")
            for target, of_target in there
        ),
        "",
        report.provenance(report.command("benchmarks.async_scores")),
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/async_scores"), help="where the runs are kept")
    parser.add_argument("--only", nargs="+", choices=list(TARGETS), default=list(TARGETS), metavar="NAME")
    parser.add_argument("--table", action="store_true", help="train nothing; write the table of what is there")
    options = parser.parse_args(arguments)
    # a folder a target, so that variants of one algorithm do not mix
    folders = {name: options.runs_dir / name for name in TARGETS}
    if not options.table:
        there = {name: finished_runs(TARGETS[name], folders[name]) for name in options.only}
        missing = [
            (seed, name) for name in options.only for seed in range(TARGETS[name].n_seeds) if seed not in there[name]
        ]
        # seed by seed, so that an interrupted benchmark has some runs of every method
        for seed, name in tqdm(sorted(missing), unit="run"):
            tuning.train(config=planned(TARGETS[name], seed).to_data(), runs_dir=folders[name], progress=False)
    runs = {name: list(finished_runs(target, folders[name]).values()) for name, target in TARGETS.items()}
    text = page(runs)
    print(text)
    print(f"{sum(map(bool, runs.values()))} of {len(TARGETS)} rows are there.", file=sys.stderr)
    report.write("async_scores.md", text)


if __name__ == "__main__":
    main()
