"""Off-PAC against Q(lambda), Greedy-GQ and Softmax-GQ on the three environments of its paper, and its speed.

    python -m benchmarks.off_pac --seeds 30             the comparison
    python -m benchmarks.off_pac --speed                updates a second at several table sizes
    python -m benchmarks.off_pac --deep-speed           steps a second beside SB3's DQN

Every run learns from a fixed number of uniform behavior episodes; then its target policy is evaluated without learning.
The table shows evaluation returns over seeds with 95 % bootstrap intervals; "P" is the probability that a run of
Off-PAC ends higher than one of the method. Runs that are in the output file already are not repeated.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes
from tqdm import tqdm

import agents.environments  # noqa: F401  (registers the environments)
from agents.common.importance import sample_index
from agents.common.softmax_policy import softmax
from agents.off_pac import OffPAC
from agents.off_pac.linear_policy import LinearPolicy
from benchmarks.off_pac_baselines import Settings, train
from benchmarks.report import DATA
from tuning import statistics

EVALUATION_EPISODES = 10
BASELINE_RUNS = 15
METHODS = ("off-pac", "q-lambda", "greedy-gq", "softmax-gq")


@dataclass(frozen=True)
class Task:
    """An environment, its number of behavior episodes, and every method's settings (found by small sweeps)."""

    env_id: str
    episodes: int
    off_pac: dict[str, float]
    baselines: dict[str, Settings]


# Sweeps (8 seeds, a few more where two were close): step sizes 0.02 to 1 and lambda 0 and 0.4 for every method,
# temperatures 0.01 to 10 for Softmax-GQ. Off-PAC's on mountain car are the paper's.
TASKS = {
    "mountain-car": Task(
        "actorzoo/DegrisMountainCar-v0",
        100,
        {"learning_rate": 1.0, "critic_learning_rate": 0.05, "secondary_learning_rate": 1e-4, "trace_decay": 0.0},
        {
            "q-lambda": Settings(alpha=0.1, trace_decay=0.4),
            "greedy-gq": Settings(alpha=0.1, alpha_w=1e-4, trace_decay=0.4),
            "softmax-gq": Settings(alpha=0.1, alpha_w=1e-4, trace_decay=0.4, temperature=0.1),
        },
    ),
    "grid-world": Task(
        "actorzoo/ContinuousGridWorld-v0",
        100,
        {"learning_rate": 5e-3, "critic_learning_rate": 0.1, "secondary_learning_rate": 1e-4, "trace_decay": 0.4},
        {
            "q-lambda": Settings(alpha=0.3),
            "greedy-gq": Settings(alpha=0.3, alpha_w=1e-4),
            "softmax-gq": Settings(alpha=0.3, alpha_w=1e-4, temperature=0.1),
        },
    ),
    "pendulum": Task(
        "actorzoo/DegrisPendulum-v0",
        100,
        {"learning_rate": 0.1, "critic_learning_rate": 0.3, "secondary_learning_rate": 1e-4, "trace_decay": 0.0},
        {
            "q-lambda": Settings(alpha=0.05),
            "greedy-gq": Settings(alpha=0.1, alpha_w=1e-4, trace_decay=0.4),
            "softmax-gq": Settings(alpha=0.05, alpha_w=1e-4, temperature=0.1),
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


def target_policy(model: OffPAC, seed: int) -> Callable[[NDArray[np.float32]], int]:
    """pi, sampled from the weights themselves: `predict` costs fifty times as much for one observation."""
    policy = model.policy
    assert isinstance(policy, LinearPolicy)
    table, generator = policy.table(), np.random.default_rng(seed + 1)

    def act(observation: NDArray[np.float32]) -> int:
        outputs = np.add.reduce(table.take(policy.feature_map(observation), 0), axis=0)
        return sample_index(softmax(outputs[: policy.n_outputs].tolist()), generator.random())

    return act


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


def run(task_name: str, method: str, seeds: tuple[int, ...]) -> list[float]:
    """Evaluation returns of some seeds' runs."""
    task = TASKS[task_name]
    if method == "off-pac":
        return [evaluate(task.env_id, target_policy(train_off_pac(task, seed), seed), seed) for seed in seeds]
    learner, tiles = train(method, task.env_id, seeds, task.episodes, task.baselines[method])
    scores = []
    for index, seed in enumerate(seeds):
        generator = np.random.default_rng(seed + 1)
        score = evaluate(task.env_id, lambda o, i=index, g=generator: learner.act(i, tiles(o), g), seed)
        scores.append(score)
    return scores


def batches(missing: list[tuple[str, str, int]]) -> list[tuple[str, str, tuple[int, ...]]]:
    """What is run in one go: of Off-PAC a seed, of the other methods some, which cost less together."""
    jobs = []
    for (task, method), group in itertools.groupby(sorted(missing), key=lambda key: key[:2]):
        seeds = tuple(key[2] for key in group)
        size = 1 if method == "off-pac" else BASELINE_RUNS
        jobs += [(task, method, seeds[start : start + size]) for start in range(0, len(seeds), size)]
    return sorted(jobs, key=lambda job: job[2])


def table(done: dict[tuple[str, str, int], float], seeds: int, tasks: list[str], methods: list[str]) -> str:
    """Markdown: returns over seeds, and how likely a run of Off-PAC is better than one of each other method."""
    lines = [
        "| environment | method | seeds | mean return | median | worst seed | P |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for task in tasks:
        ours = _scores(done, task, "off-pac", seeds)
        for method in methods:
            scores = _scores(done, task, method, seeds)
            low, high, n = statistics.interval(scores, statistics.mean)
            better = ""
            if method != "off-pac" and ours.size:
                lowest, highest, _ = statistics.improvement_interval([(ours, scores)])
                better = f"{statistics.probability_of_improvement(ours, scores):.2f} [{lowest:.2f}, {highest:.2f}]"
            lines.append(
                f"| {task} | {method} | {n} | {scores.mean():,.1f} [{low:,.1f}, {high:,.1f}] "
                f"| {np.median(scores):,.1f} | {scores.min():,.1f} | {better} |"
            )
    return "\n".join(lines)


def _scores(done: dict[tuple[str, str, int], float], task: str, method: str, seeds: int) -> NDArray[np.float64]:
    return np.array(
        [score for (t, m, seed), score in sorted(done.items()) if (t, m) == (task, method) and seed < seeds]
    )


def compare(seeds: int, tasks: list[str], methods: list[str], jobs: int, output: Path) -> None:
    """Run what is missing from the output file, then print the table."""
    done = read(output)
    missing = [(t, m, s) for s in range(seeds) for t in tasks for m in methods if (t, m, s) not in done]
    with ProcessPoolExecutor(jobs) as pool, output.open("a", newline="") as file:
        futures = {pool.submit(run, *job): job for job in batches(missing)}
        for future in tqdm(as_completed(futures), total=len(futures), unit="batch"):
            task, method, of_batch = futures[future]
            rows = [(task, method, *row) for row in zip(of_batch, future.result(), strict=True)]
            csv.writer(file).writerows(rows)
            file.flush()
    print(table(read(output), seeds, tasks, methods))


def read(output: Path) -> dict[tuple[str, str, int], float]:
    """Scores by task, method and seed."""
    if not output.exists():
        return {}
    with output.open(newline="") as file:
        return {(task, method, int(seed)): float(score) for task, method, seed, score in csv.reader(file)}


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


def deep_speed(steps: int = 12_000, rounds: int = 3) -> None:
    """Steps a second of processor time on CartPole beside DQN: same network, batch, buffer and updates, one thread.

    The rounds alternate between the systems, so that a change of the machine's pace meets all of them.
    """
    equal: dict[str, Any] = {"batch_size": 32, "train_freq": 4, "gradient_steps": 1, "learning_starts": 100}
    equal |= {"buffer_size": 50_000, "target_update_interval": 1000, "seed": 0, "device": "cpu"}
    systems: dict[str, Callable[[], Any]] = {
        "DQN": lambda: DQN("MlpPolicy", "CartPole-v1", **equal),
        "OffPAC, uniform behavior": lambda: OffPAC("MlpPolicy", "CartPole-v1", **equal),
        "OffPAC, 10 % uniform": lambda: OffPAC("MlpPolicy", "CartPole-v1", behavior_policy=0.1, **equal),
        "OffPAC, V-trace": lambda: OffPAC("MlpPolicy", "CartPole-v1", critic="vtrace", **equal),
    }
    threads = th.get_num_threads()
    th.set_num_threads(1)
    rates: dict[str, list[float]] = {name: [] for name in systems}
    try:
        for _ in range(rounds):
            for name, make in systems.items():
                model = make()
                model.learn(1000, log_interval=None)
                started = time.process_time()
                model.learn(steps, log_interval=None, reset_num_timesteps=False)
                rates[name].append(steps / (time.process_time() - started))
    finally:
        th.set_num_threads(threads)
    print("| system | steps/s (median, range) |")
    print("|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {np.median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f}) |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--task", action="append", choices=sorted(TASKS), help="default: all three")
    parser.add_argument("--method", action="append", choices=METHODS, help="default: all four")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--output", type=Path, default=DATA / "off_pac.csv")
    parser.add_argument("--speed", action="store_true", help="measure speed instead")
    parser.add_argument("--deep-speed", action="store_true", help="measure the deep agent's speed beside DQN's instead")
    given = parser.parse_args()
    if given.speed or given.deep_speed:
        speed() if given.speed else deep_speed()
        return
    compare(given.seeds, given.task or sorted(TASKS), given.method or list(METHODS), given.jobs, given.output)


if __name__ == "__main__":
    main()
