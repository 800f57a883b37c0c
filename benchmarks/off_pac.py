"""Off-PAC against Q(lambda), Greedy-GQ and Softmax-GQ on the three environments of its paper, and its speed.

    python -m benchmarks.off_pac --seeds 30 --output off_pac.csv        the comparison
    python -m benchmarks.off_pac --speed                                updates a second at several table sizes

Every run learns from a fixed number of uniform behavior episodes; then its target policy is evaluated without learning.
The table shows the mean over seeds of the evaluation return with a 95 % bootstrap interval. Runs that are in the output
file already are not repeated.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes

import agents.environments  # noqa: F401  (registers the environments)
from agents.off_pac import OffPAC
from benchmarks.off_pac_baselines import Settings, train

EVALUATION_EPISODES = 10
METHODS = ("off-pac", "q-lambda", "greedy-gq", "softmax-gq")


@dataclass(frozen=True)
class Task:
    """An environment, its number of behavior episodes, and every method's settings (found by small sweeps)."""

    env_id: str
    episodes: int
    off_pac: dict[str, float]
    baselines: dict[str, Settings]


TASKS = {
    "mountain-car": Task(
        "actorzoo/DegrisMountainCar-v0",
        100,
        {"learning_rate": 1.0, "critic_learning_rate": 0.05, "secondary_learning_rate": 1e-4, "trace_decay": 0.0},
        {
            "q-lambda": Settings(alpha=0.02),
            "greedy-gq": Settings(alpha=0.02, alpha_w=1e-4),
            "softmax-gq": Settings(alpha=0.05, alpha_w=1e-4, temperature=0.1),
        },
    ),
    "grid-world": Task(
        "actorzoo/ContinuousGridWorld-v0",
        100,
        {"learning_rate": 5e-3, "critic_learning_rate": 0.1, "secondary_learning_rate": 1e-4, "trace_decay": 0.4},
        {
            "q-lambda": Settings(alpha=1.0, trace_decay=0.4),
            "greedy-gq": Settings(alpha=1.0, alpha_w=1e-4),
            "softmax-gq": Settings(alpha=1.0, alpha_w=1e-4, temperature=1.0),
        },
    ),
    "pendulum": Task(
        "actorzoo/DegrisPendulum-v0",
        50,
        {"learning_rate": 0.25, "critic_learning_rate": 0.1, "secondary_learning_rate": 1e-4, "trace_decay": 0.4},
        {
            "q-lambda": Settings(alpha=1.0, trace_decay=0.4),
            "greedy-gq": Settings(alpha=0.02, alpha_w=1e-4),
            "softmax-gq": Settings(alpha=0.3, alpha_w=1e-4, temperature=0.1),
        },
    ),
}


def train_off_pac(task: Task, seed: int) -> OffPAC:
    """Learn from the task's number of behavior episodes."""
    model = OffPAC("TileCodingPolicy", task.env_id, seed=seed, **task.off_pac)  # type: ignore[arg-type]
    # Episodes have at most 5000 steps; most steps are taken in one go, the rest until the last episode ends.
    while model._episode_num < task.episodes:
        steps = 5000 * (task.episodes - model._episode_num) // 2
        if steps > 20_000:
            model.learn(steps, log_interval=None, reset_num_timesteps=False)
        else:
            stop = StopTrainingOnMaxEpisodes(task.episodes - model._episode_num)
            model.learn(10**9, callback=stop, log_interval=None, reset_num_timesteps=False)
    return model


def evaluate(env_id: str, act: Callable[[NDArray[np.float32]], Any], seed: int) -> float:
    """Mean return of the evaluation episodes."""
    env = gym.make(env_id)
    returns = []
    for episode in range(EVALUATION_EPISODES):
        observation, _ = env.reset(seed=10_000 + 100 * seed + episode)
        total, done = 0.0, False
        while not done:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total += float(reward)
            done = terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def run(task_name: str, method: str, seed: int) -> tuple[float, float]:
    """Evaluation return and seconds of processor time of one run."""
    task = TASKS[task_name]
    started = time.process_time()
    if method == "off-pac":
        model = train_off_pac(task, seed)
        return evaluate(task.env_id, lambda o: model.predict(o)[0], seed), time.process_time() - started
    learner, tiles = train(method, task.env_id, seed, task.episodes, task.baselines[method])
    generator = np.random.default_rng(seed + 1)
    score = evaluate(task.env_id, lambda o: learner.act(tiles(o), generator), seed)
    return score, time.process_time() - started


def bootstrap_interval(scores: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of the mean."""
    means = np.random.default_rng(0).choice(scores, size=(10_000, scores.size)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def compare(seeds: int, tasks: list[str], methods: list[str], jobs: int, output: Path) -> None:
    """Run what is missing from the output file, then print the table."""
    done = read(output)
    missing = [(t, m, s) for s in range(seeds) for t in tasks for m in methods if (t, m, s) not in done]
    with ProcessPoolExecutor(jobs) as pool, output.open("a", newline="") as file:
        writer = csv.writer(file)
        futures = {pool.submit(run, *key): key for key in missing}
        for future in as_completed(futures):
            score, seconds = future.result()
            writer.writerow([*futures[future], score, f"{seconds:.1f}"])
            file.flush()
    done = read(output)
    print("| environment | method | seeds | mean | 95 % interval | median |")
    print("|---|---|---|---|---|---|")
    for task in tasks:
        for method in methods:
            scores = np.array([score for (t, m, s), score in done.items() if (t, m) == (task, method) and s < seeds])
            low, high = bootstrap_interval(scores)
            numbers = f"{scores.mean():.1f} | {low:.1f} to {high:.1f} | {np.median(scores):.1f}"
            print(f"| {task} | {method} | {scores.size} | {numbers} |")


def read(output: Path) -> dict[tuple[str, str, int], float]:
    """Scores by task, method and seed."""
    if not output.exists():
        return {}
    with output.open(newline="") as file:
        return {(task, method, int(seed)): float(score) for task, method, seed, score, _ in csv.reader(file)}


def speed(steps: int = 100_000) -> None:
    """Updates a second of processor time on mountain car, environment step included, by size of the table."""
    print("| tilings | tiles | features | lambda | updates/s |")
    print("|---|---|---|---|---|")
    for n_tilings, n_tiles, trace_decay in (
        (10, 10, 0.0),
        (10, 100, 0.0),
        (10, 300, 0.0),
        (10, 10, 0.4),
        (10, 300, 0.4),
    ):
        task = TASKS["mountain-car"]
        arguments: dict[str, Any] = {**task.off_pac, "trace_decay": trace_decay}
        model = OffPAC(
            "TileCodingPolicy",
            task.env_id,
            seed=0,
            policy_kwargs={"n_tilings": n_tilings, "n_tiles": n_tiles},
            **arguments,
        )
        model.learn(2000, log_interval=None)
        started = time.process_time()
        model.learn(steps, log_interval=None, reset_num_timesteps=False)
        rate = steps / (time.process_time() - started)
        n_features = model.policy.feature_map.n_features  # type: ignore[union-attr]
        print(f"| {n_tilings} | {n_tiles} | {n_features} | {trace_decay} | {rate:,.0f} |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--task", action="append", choices=sorted(TASKS), help="default: all three")
    parser.add_argument("--method", action="append", choices=METHODS, help="default: all four")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--output", type=Path, default=Path("off_pac.csv"))
    parser.add_argument("--speed", action="store_true", help="measure speed instead")
    given = parser.parse_args()
    if given.speed:
        speed()
        return
    compare(given.seeds, given.task or sorted(TASKS), given.method or list(METHODS), given.jobs, given.output)


if __name__ == "__main__":
    main()
