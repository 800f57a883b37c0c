"""What normalizing costs a step: `python -m benchmarks.normalization`.

The environment below does nothing, so that all time but that of one call is normalization. Both wrappers take turns,
and each figure is the median of the repetitions with their range; a repetition is the fastest of many short blocks,
which leaves out what else the machine was doing.
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from benchmarks import report
from wrappers import StatisticsExchange, VecNormalize

LIMIT = 15.0  # µs that normalizing may cost for a step of one environment
BLOCK_STEPS, BLOCKS = 100, 300


class Still(VecEnv):
    """Gives the same arrays in every step."""

    def __init__(self, n_envs: int, size: int) -> None:
        super().__init__(n_envs, spaces.Box(-np.inf, np.inf, (size,), np.float32), spaces.Discrete(2))
        rng = np.random.default_rng(0)
        self.observations = rng.normal(3, 2, (n_envs, size)).astype(np.float32)
        self.rewards = rng.normal(size=n_envs).astype(np.float32)
        self.dones = np.zeros(n_envs, bool)
        self.infos: list[dict[str, Any]] = [{} for _ in range(n_envs)]

    def reset(self) -> np.ndarray:
        """The same observations."""
        return self.observations

    def step_async(self, actions: np.ndarray) -> None:
        """Nothing."""

    def step_wait(self) -> Any:
        """The same again."""
        return self.observations, self.rewards, self.dones, self.infos

    def close(self) -> None:
        """Nothing."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Only what the constructor asks for."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Nothing."""

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Nothing."""
        return []

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * self.num_envs


def tracked(venv: VecEnv, training: bool) -> VecNormalize:
    """As an asynchronous worker has it."""
    vec_normalize = VecNormalize(venv, training=training)
    StatisticsExchange(vec_normalize).track()
    return vec_normalize


KINDS: dict[str, Callable[..., VecEnv]] = {
    "SB3's VecNormalize": SB3VecNormalize,
    "wrappers.VecNormalize": VecNormalize,
    "wrappers.VecNormalize in a worker": tracked,
}


def microseconds(step: Callable[[], object]) -> float:
    """Time of a call, from the fastest block."""
    fastest = float("inf")
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(BLOCK_STEPS):
            step()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest / BLOCK_STEPS * 1e6


def cost(kind: str, n_envs: int, size: int, training: bool) -> float:
    """Microseconds that a step takes longer with normalization."""
    still = Still(n_envs, size)
    vec_normalize = KINDS[kind](still, training=training)
    vec_normalize.reset()
    return microseconds(vec_normalize.step_wait) - microseconds(still.step_wait)


def main() -> int:
    """Measure, write the table, and say whether the limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each (default 5)")
    arguments = parser.parse_args()
    cases = [(n_envs, size, training) for training in (True, False) for n_envs in (1, 16) for size in (4, 17)]
    costs: dict[tuple[str, int, int, bool], list[float]] = {(kind, *case): [] for kind in KINDS for case in cases}
    for _ in range(arguments.repeats):
        for key, values in costs.items():
            values.append(cost(*key))
    lines = ["| statistics | environments | size | " + " | ".join(KINDS) + " |", "|---" * (3 + len(KINDS)) + "|"]
    kept, dearest = True, 0.0
    for n_envs, size, training in cases:
        cells = []
        for kind in KINDS:
            values = costs[kind, n_envs, size, training]
            cells.append(f"{median(values):.1f} [{min(values):.1f}, {max(values):.1f}]")
        lines.append(f"| {'learning' if training else 'frozen'} | {n_envs} | {size} | " + " | ".join(cells) + " |")
        theirs, ours = (median(costs[kind, n_envs, size, training]) for kind in list(KINDS)[:2])
        kept = kept and ours / n_envs <= LIMIT and ours < theirs
        dearest = max(dearest, ours)
    verdict = "kept" if kept else "NOT kept"
    text = "\n".join(
        [
            "# What normalizing costs\n",
            "Microseconds a vectorized step takes longer, observations (a flat Box) and rewards normalized. Median "
            f"[range] of {arguments.repeats} repetitions.\n",
            *lines,
            f"\nAt most {LIMIT:g} µs for each environment's step, and less than SB3's: {verdict}. The dearest "
            f"vectorized step takes {dearest:.1f} µs.\n",
            report.provenance(report.command("benchmarks.normalization")),
            "",
        ]
    )
    print(text)
    report.write("normalization.md", text)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
