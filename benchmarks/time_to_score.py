"""Seconds to a reference score with one and with two workers, after Mnih et al. (2016), Table 2.

    python -m benchmarks.time_to_score --output time_to_score.csv

Both numbers of workers use the same settings, those of zoo_configs. Every run is a process of its own: one-worker runs
have one core each (two of them run side by side), two-worker runs have both. Training is halted while the policy is
evaluated (20 episodes, deterministic), and the clock with it; a run ends at its first evaluation at or above the
reference score. A run that never gets there counts as slower than all others. Runs that are in the output file already
are not repeated, so the benchmark can be made in pieces (--time-limit). Besides the ratio of times the table shows its
two factors, how many steps learning took and how many were made a second.
"""

import argparse
import contextlib
import csv
import itertools
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402 - after the one-thread settings, which must come before NumPy
from numpy.typing import NDArray  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from tqdm import tqdm  # noqa: E402

from benchmarks import report  # noqa: E402
from tuning.config import RunConfig, resolve  # noqa: E402
from tuning.evaluation import Evaluator  # noqa: E402
from tuning.training import build_model  # noqa: E402

ALGOS = ("asyncqlearning", "asyncsarsa", "asyncnstepq", "a3c")
PAPER = {"asyncqlearning": 3.0, "asyncsarsa": 2.8, "asyncnstepq": 2.7, "a3c": 2.1}


@dataclass(frozen=True)
class Reference:
    """What is to be reached: a return, looked for every ``eval_freq`` steps."""

    score: float
    eval_freq: int


REFERENCES = {"CartPole-v1": Reference(475.0, 2_500), "LunarLander-v3": Reference(200.0, 50_000)}
Key = tuple[str, str, int, int]  # environment, algorithm, workers, seed


class Reached(NamedTuple):
    """When a run reached the reference score; infinite where it never did."""

    seconds: float
    steps: float


class ReachedError(Exception):
    """Ends training."""


class UntilScore(BaseCallback):
    """Halts training now and then, evaluates, and ends it at the reference score.

    Args:
        reference: what is to be reached.
        evaluator: on an environment of its own.
    """

    per_step = False

    def __init__(self, reference: Reference, evaluator: Evaluator) -> None:
        super().__init__()
        self._reference = reference
        self._evaluator = evaluator
        self._next = reference.eval_freq
        self._halted = 0.0
        self.reached = Reached(math.inf, math.inf)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.model.num_timesteps < self._next:
            return
        trained = time.time_ns() / 1e9 - self.model.start_time / 1e9 - self._halted
        began = time.perf_counter()
        with self.model.paused():  # type: ignore[attr-defined]
            steps = self.model.num_timesteps
            returns = [episode.value for episode in self._evaluator(self.model)]
        self._next = (self.model.num_timesteps // self._reference.eval_freq + 1) * self._reference.eval_freq
        self._halted += time.perf_counter() - began
        if np.mean(returns) >= self._reference.score:
            self.reached = Reached(trained, steps)
            raise ReachedError


def train(env_id: str, algo: str, n_workers: int, seed: int) -> Reached:
    """Training until the reference score."""
    config: RunConfig = resolve(algo, env_id, seed=seed, hyperparams={"n_workers": n_workers}, eval_episodes=20)
    model = build_model(config)
    watch = UntilScore(REFERENCES[env_id], Evaluator(config))
    with contextlib.suppress(ReachedError):
        model.learn(config.n_timesteps, callback=watch)
    return watch.reached


def start(key: Key, cores: str) -> subprocess.Popen[str]:
    """One run in a process of its own, on these cores."""
    command = [
        "taskset",
        "--cpu-list",
        cores,
        sys.executable,
        "-m",
        "benchmarks.time_to_score",
        "--run",
        *map(str, key),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def cores_for(n_workers: int) -> list[str]:
    """What each run of a batch may use, as ``taskset`` takes it.

    Raises:
        RuntimeError: there are not two cores.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise RuntimeError(f"This process may use {len(cores)} core, but two workers are compared on two; allow two.")
    return [f"{cores[0]},{cores[1]}"] if n_workers == 2 else [str(core) for core in cores]


def finish(process: subprocess.Popen[str]) -> Reached:
    """What the process printed last.

    Raises:
        RuntimeError: it failed; its own output says why.
    """
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with exit code {process.returncode}")
    return Reached(*map(float, output.split()[-2:]))


def batches(keys: list[Key]) -> list[list[Key]]:
    """What runs at the same time: one-worker runs of the same method in pairs, two-worker runs alone."""
    single = [key for key in keys if key[2] == 1]
    pairs: list[list[Key]] = []
    for key in single:
        if pairs and len(pairs[-1]) == 1 and pairs[-1][0][:2] == key[:2]:
            pairs[-1].append(key)
        else:
            pairs.append([key])
    # by seed, so that a machine whose speed drifts treats both numbers of workers alike
    return sorted([*pairs, *([key] for key in keys if key[2] == 2)], key=lambda batch: (batch[0][3], batch[0]))


def read(output: Path) -> dict[Key, Reached]:
    """The runs that have been made."""
    if not output.exists():
        return {}
    with output.open(newline="") as file:
        return {
            (env, algo, int(n), int(seed)): Reached(float(seconds), float(steps))
            for env, algo, n, seed, seconds, steps in csv.reader(file)
        }


def speed_up(one: NDArray[np.float64], two: NDArray[np.float64]) -> tuple[float, float, float]:
    """Ratio of the medians, one worker's over two workers', with its 95 % bootstrap interval."""
    generator = np.random.default_rng(0)
    medians = [np.median(generator.choice(seconds, (10_000, seconds.size)), axis=1) for seconds in (one, two)]
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(medians[0] / medians[1], [0.025, 0.975])
        return float(np.median(one) / np.median(two)), float(low), float(high)


def table(done: dict[Key, Reached]) -> str:
    """Markdown."""
    columns = ("environment", "method", "runs", "reached", "seconds", "steps", "steps a second")
    lines = [
        f"| {' | '.join(columns)} | speed-up [95 %] | paper, 7 Atari games |",
        "|---|---|" + "---:|" * len(columns),
    ]
    for env_id, algo in itertools.product(REFERENCES, ALGOS):
        one, two = (np.array([found for key, found in done.items() if key[:3] == (env_id, algo, n)]) for n in (1, 2))
        if not (one.size and two.size):
            continue
        cells = [env_id, algo, f"{len(one)} / {len(two)}"]
        cells.append(" / ".join(f"{np.isfinite(runs[:, 0]).sum()}" for runs in (one, two)))
        cells.append(" / ".join(f"{np.median(runs[:, 0]):.2f}" for runs in (one, two)))
        cells.append(" / ".join(f"{np.median(runs[:, 1]):,.0f}" for runs in (one, two)))
        reached = [runs[np.isfinite(runs[:, 0])] for runs in (one, two)]
        cells.append(" / ".join(f"{np.median(runs[:, 1] / runs[:, 0]):,.0f}" for runs in reached))
        ratio, low, high = speed_up(one[:, 0], two[:, 0])
        cells += [f"{ratio:.2f} [{low:.2f}, {high:.2f}]", f"{PAPER[algo]}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Make the runs that are missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=list(REFERENCES), default=list(REFERENCES))
    parser.add_argument("--algos", nargs="+", choices=ALGOS, default=list(ALGOS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--time-limit", type=float, default=math.inf, help="begin no run after so many seconds")
    parser.add_argument("--output", type=Path, default=Path("time_to_score.csv"))
    parser.add_argument(
        "--run", nargs=4, metavar=("ENV", "ALGO", "WORKERS", "SEED"), help="make one run, print seconds and steps"
    )
    given = parser.parse_args()
    if given.run:
        env_id, algo, n_workers, seed = given.run
        print(*train(env_id, algo, int(n_workers), int(seed)))
        return
    began = time.monotonic()
    done = read(given.output)
    wanted = [(e, a, n, s) for e in given.envs for a in given.algos for n in (1, 2) for s in range(given.seeds)]
    missing = [key for key in wanted if key not in done]
    with given.output.open("a", newline="") as file, tqdm(total=len(missing), unit="run") as bar:
        for batch in batches(missing):
            if time.monotonic() - began > given.time_limit:
                break
            processes = [start(key, core) for key, core in zip(batch, cores_for(batch[0][2]), strict=False)]
            for key, process in zip(batch, processes, strict=True):
                done[key] = finish(process)
                csv.writer(file).writerow([*key, *done[key]])
            file.flush()
            bar.update(len(batch))
    scores = ", ".join(f"{env_id} {reference.score:g}" for env_id, reference in REFERENCES.items())
    text = "\n".join(
        [
            "# Time to a reference score with one and two workers\n",
            f"One worker / two workers, medians over runs. Reference scores: {scores} (mean of 20 deterministic "
            "episodes; evaluation is not in the time). Settings of `zoo_configs`, the same for both numbers of "
            "workers. The speed-up is the ratio of the medians of the seconds.\n",
            table(done),
            "",
            report.provenance(report.command("benchmarks.time_to_score")),
            "",
        ]
    )
    print(text)
    report.write("time_to_score.md", text)


if __name__ == "__main__":
    main()
