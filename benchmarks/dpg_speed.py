"""Steps a second of DPG: linear with tile coding, and deep beside DDPG with the same networks.

``python -m benchmarks.dpg_speed`` writes docs/results/dpg_speed.md. One thread, environment steps included; each number
is the median of several runs, with the slowest and the fastest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3 import DDPG
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import agents.environments  # noqa: F401  (registers the environments)
from agents.dpg import DPG
from benchmarks.report import provenance

FOLDER = Path("docs/results")
LINEAR = ("actorzoo/ContinuousMountainCar-v0", "actorzoo/ContinuousPendulum-v0", "Pendulum-v1")
NETWORKS = ([64, 64], [400, 300])
DEEP = "Pendulum-v1"


def steps_per_second(model: Any, n_steps: int, repeats: int) -> list[float]:
    """Of ``repeats`` calls of ``learn`` after a short first one.

    Args:
        model: any algorithm.
        n_steps: in each.
        repeats: how many.
    """
    model.learn(max(n_steps // 10, 1), reset_num_timesteps=False, log_interval=None)
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        model.learn(n_steps, reset_num_timesteps=False, log_interval=None)
        found.append(n_steps / (time.perf_counter() - start))
    return found


def ceiling(env: VecEnv, n_steps: int, repeats: int) -> float:
    """Steps a second of random actions alone, drawn before, in the environment that an agent steps; the fastest run.

    Args:
        env: the agent's.
        n_steps: in each of ``repeats`` runs.
        repeats: how many.
    """
    assert isinstance(env, DummyVecEnv)
    inner = env.envs[0]
    actions = [inner.action_space.sample() for _ in range(n_steps)]
    inner.reset(seed=0)
    fastest = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        for action in actions:
            _, _, terminated, truncated, _ = inner.step(action)
            if terminated or truncated:
                inner.reset()
        fastest = max(fastest, n_steps / (time.perf_counter() - start))
    return fastest


def _cells(found: list[float]) -> str:
    return f"{statistics.median(found):,.0f} | {min(found):,.0f} | {max(found):,.0f}"


class _Page:
    """Lines, shown as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--linear-steps", type=int, default=20_000)
    parser.add_argument("--deep-steps", type=int, default=500)
    parser.add_argument("--output", type=Path, default=FOLDER / "dpg_speed.md")
    options = parser.parse_args()
    th.set_num_threads(1)
    page = _Page()
    page.add(
        "# Speed of DPG",
        "",
        f"`python -m benchmarks.dpg_speed`: environment steps a second on one core, with one update a step; median, "
        f"slowest and fastest of {options.repeats} runs.",
        "",
        "## Linear, 10 tilings of 10 tiles a dimension and a bias",
        "",
        '"Random actions": steps a second of the environment alone, without an agent; "share": of that.',
        "",
        "| environment | variant | median | slowest | fastest | random actions | share |",
        "|---|---|---|---|---|---|---|",
    )
    for env in LINEAR:
        for variant in ("copdac-q", "copdac-gq"):
            model = DPG("TileCodingPolicy", env, variant=variant, seed=0)
            found = steps_per_second(model, options.linear_steps, options.repeats)
            alone = ceiling(model.get_env(), options.linear_steps, options.repeats)
            share = statistics.median(found) / alone
            page.add(f"| {env} | {variant} | {_cells(found)} | {alone:,.0f} | {share:.0%} |")
    page.add(
        "",
        f"## Deep, {DEEP}",
        "",
        "DDPG as Stable-Baselines3 has it: one update with a batch of 256 from replay a step, after 100 steps.",
        "",
        "| algorithm | hidden layers | median | slowest | fastest | times DDPG |",
        "|---|---|---|---|---|---|",
    )
    for network in NETWORKS:
        kwargs = {"net_arch": network}
        ddpg = DDPG("MlpPolicy", DEEP, train_freq=1, gradient_steps=1, policy_kwargs=dict(kwargs), seed=0)
        ddpg.learn(110, log_interval=None)
        base = steps_per_second(ddpg, options.deep_steps, options.repeats)
        page.add(f"| DDPG | {network} | {_cells(base)} | 1.0 |")
        for variant in ("copdac-q", "copdac-gq", "opdac"):
            model = DPG("MlpPolicy", DEEP, variant=variant, policy_kwargs=kwargs, seed=0)
            found = steps_per_second(model, options.deep_steps, options.repeats)
            ratio = statistics.median(found) / statistics.median(base)
            page.add(f"| DPG, {variant} | {network} | {_cells(found)} | {ratio:.1f} |")
    page.add(
        "",
        "Random actions are measured right after each agent. Where they differ between two rows of one environment, "
        "the machine's own pace did, and rates of different rows compare no better than that.",
        "",
        provenance("python -m benchmarks.dpg_speed"),
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join(page.lines) + "\n")


if __name__ == "__main__":
    main()
