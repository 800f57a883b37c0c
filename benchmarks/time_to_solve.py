"""Seconds until CartPole is solved, beside the peers: `python -m benchmarks.time_to_solve`.

A run has solved CartPole-v1 when 20 evaluation episodes with sampled actions average at least 475. Every 2,500 steps
training is halted for an evaluation, and the clock with it. The time is that of `learn`, the start of worker processes
included; what remains without it is shown beside. A3C (two workers), SB3's A2C and PPO have the settings of
zoo_configs, the classic recipe has two workers, n_steps 20 and Adam at 1e-3. Systems are interleaved, seed by seed,
each run in a process of its own; a run that never gets there counts as slower than all others.
"""

import argparse
import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import gymnasium as gym  # noqa: E402 - after the one-thread settings, which must come before NumPy
import numpy as np  # noqa: E402
import torch as th  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from tqdm import tqdm  # noqa: E402

from benchmarks import classic_recipe, report  # noqa: E402
from tuning.config import resolve  # noqa: E402
from tuning.training import build_model  # noqa: E402

ENV = "CartPole-v1"
SCORE = 475.0
EPISODES = 20
EVAL_FREQ = 2_500
CLASSIC_BUDGET = 500_000
SYSTEMS = {"a3c": "A3C, 2 workers", "ppo": "SB3 PPO", "a2c": "SB3 A2C", "classic": "classic recipe, 2 workers"}

Act = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def mean_return(act: Act, seed: int) -> float:
    """Of 20 episodes that are played side by side, so that a step asks the policy once."""
    envs = [gym.make(ENV) for _ in range(EPISODES)]
    observations = np.stack([env.reset(seed=10_000 + seed * EPISODES + i)[0] for i, env in enumerate(envs)])
    returns, playing = np.zeros(EPISODES), np.ones(EPISODES, dtype=bool)
    while playing.any():
        for i, action in enumerate(act(observations)):
            if playing[i]:
                observations[i], reward, terminated, truncated, _ = envs[i].step(int(action))
                returns[i] += float(reward)
                playing[i] = not (terminated or truncated)
    return float(returns.mean())


class Took(NamedTuple):
    """Seconds until the task was solved."""

    seconds: float
    started: float  # without the start of processes


NEVER = Took(math.inf, math.inf)


class SolvedError(Exception):
    """Ends training."""


class UntilSolved(BaseCallback):
    """Halts training every 2,500 steps, evaluates, and ends it when the task is solved."""

    per_step = False

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._next = EVAL_FREQ
        self._halted = 0.0
        self._called = 0.0
        self.took = NEVER

    def _on_training_start(self) -> None:
        self._called = time.time()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.model.num_timesteps < self._next:
            return
        # A3C's start_time is when its first worker was ready
        took = Took(*(time.time() - since - self._halted for since in (self._called, self.model.start_time / 1e9)))
        began = time.perf_counter()
        with getattr(self.model, "paused", contextlib.nullcontext)():
            score = mean_return(lambda rows: self.model.predict(rows)[0], self._seed)
        self._next = (self.model.num_timesteps // EVAL_FREQ + 1) * EVAL_FREQ
        self._halted += time.perf_counter() - began
        if score >= SCORE:
            self.took = took
            raise SolvedError


def solve_by_model(algo: str, seed: int) -> Took:
    """Infinite if the budget ends first."""
    config = resolve(algo, ENV, seed=seed)
    watch = UntilSolved(seed)
    with contextlib.suppress(SolvedError):
        build_model(config).learn(config.n_timesteps, callback=watch)
    return watch.took


def solve_by_classic_recipe(seed: int) -> Took:
    """Started once the workers have made their first segments; infinite if the budget ends first."""
    called = time.perf_counter()
    with classic_recipe.training(ENV, 2, 20, seed) as (shared, steps, go):
        while not steps.value:
            time.sleep(0.001)
        trained, began = 0.0, time.perf_counter()
        starting = began - called
        following = EVAL_FREQ
        while steps.value < CLASSIC_BUDGET:
            if steps.value < following:
                time.sleep(0.002)
                continue
            go.clear()
            trained += time.perf_counter() - began
            time.sleep(0.05)  # for the segments that are under way
            with th.no_grad():
                score = mean_return(
                    lambda rows: th.multinomial(shared(th.as_tensor(rows))[0].softmax(-1), 1)[:, 0].numpy(), seed
                )
            if score >= SCORE:
                return Took(starting + trained, trained)
            following = (steps.value // EVAL_FREQ + 1) * EVAL_FREQ
            go.set()
            began = time.perf_counter()
    return NEVER


def table(took: dict[str, list[Took]]) -> str:
    """Markdown."""
    lines = [
        "| system | solved | seconds, median [range] | of A2C's | without the start of processes |",
        "|---|---:|---:|---:|---:|",
    ]
    seconds = {name: [run.seconds for run in runs] for name, runs in took.items()}
    reference = np.median(seconds["a2c"]) if "a2c" in seconds else np.nan
    for name, runs in seconds.items():
        middle = float(np.median(runs))
        started = float(np.median([run.started for run in took[name]]))
        lines.append(
            f"| {SYSTEMS[name]} | {np.isfinite(runs).sum()} of {len(runs)} | {middle:.2f} [{min(runs):.2f}, "
            f"{max(runs):.2f}] | {middle / reference:.0%} | {started:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--run", nargs=2, metavar=("SYSTEM", "SEED"), help="make one run, print both times")
    given = parser.parse_args()
    th.set_num_threads(1)
    if given.run:
        name, seed = given.run[0], int(given.run[1])
        print(*(solve_by_classic_recipe(seed) if name == "classic" else solve_by_model(name, seed)))
        return
    took: dict[str, list[Took]] = {name: [] for name in given.systems}
    for seed in tqdm(range(given.seeds), unit="seed"):
        for name in given.systems:
            command = [sys.executable, "-m", "benchmarks.time_to_solve", "--run", name, str(seed)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            took[name].append(Took(*map(float, done.stdout.split()[-2:])))
    text = "\n".join(
        [
            "# Seconds until CartPole is solved\n",
            f"{EPISODES} sampled episodes average at least {SCORE:g}; looked for every {EVAL_FREQ:,} steps, evaluation "
            "not counted, the start of worker processes counted. Settings of `zoo_configs`; classic recipe: n_steps "
            "20, Adam, 1e-3. Interleaved runs, one a seed.\n",
            table(took),
            "",
            report.provenance(report.command("benchmarks.time_to_solve")),
            "",
        ]
    )
    print(text)
    report.write("time_to_solve.md", text)


if __name__ == "__main__":
    main()
