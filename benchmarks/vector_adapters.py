"""What the vector adapters cost, and what faster environments bring: `python -m benchmarks.vector_adapters`.

First table: CartPole-v1 with random actions, in its own library and through an adapter. Second table: training in it.
Systems take turns, and each figure is the median of the repetitions with their range. EnvPool is measured where it is
installed.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from tqdm import tqdm

import agents
from benchmarks import report
from wrappers import from_gymnasium_vector, to_gymnasium_vector

ENV_ID = "CartPole-v1"


def single() -> gym.Env[Any, Any]:
    """One environment, without what only finds mistakes."""
    return gym.make(ENV_ID, disable_env_checker=True)


def sync(n_envs: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> VectorEnv:
    """Gymnasium's, one after the other."""
    return SyncVectorEnv([single] * n_envs, autoreset_mode=mode)


def pool(n_envs: int) -> Any:
    """EnvPool's, in threads."""
    import envpool

    # EnvPool takes its seed here and no later: pools of two processes must not get the same one
    warnings.filterwarnings("ignore", message="EnvPool takes its seed when it is made")
    warnings.filterwarnings("ignore", message=".*precision lowered by casting")
    return envpool.make(ENV_ID, env_type="gymnasium", num_envs=n_envs, num_threads=1, seed=os.getpid())


STEPPED: dict[str, Callable[[int], Any]] = {
    "SB3 DummyVecEnv": lambda n: DummyVecEnv([single] * n),
    "SB3 DummyVecEnv, to Gymnasium (SAME_STEP)": lambda n: to_gymnasium_vector(DummyVecEnv([single] * n)),
    "Gymnasium SyncVectorEnv (NEXT_STEP)": sync,
    "Gymnasium SyncVectorEnv (NEXT_STEP), to SB3": lambda n: from_gymnasium_vector(sync(n)),
    "Gymnasium SyncVectorEnv (SAME_STEP), to SB3": lambda n: from_gymnasium_vector(sync(n, AutoresetMode.SAME_STEP)),
    "Gymnasium SyncVectorEnv (DISABLED), to SB3": lambda n: from_gymnasium_vector(sync(n, AutoresetMode.DISABLED)),
    "Gymnasium CartPoleVectorEnv": CartPoleVectorEnv,
    "Gymnasium CartPoleVectorEnv, to SB3": lambda n: from_gymnasium_vector(CartPoleVectorEnv(n)),
    "EnvPool": pool,
    "EnvPool, to SB3": lambda n: from_gymnasium_vector(pool(n)),
}
TRAINED = ("SB3 DummyVecEnv", "Gymnasium CartPoleVectorEnv, to SB3", "EnvPool, to SB3")
ALGORITHMS: dict[str, Callable[[Callable[[], VecEnv]], Any]] = {
    "A2C": lambda make: agents.A2C("MlpPolicy", make(), device="cpu", seed=0),
    "PPO": lambda make: agents.PPO("MlpPolicy", make(), n_steps=128, batch_size=256, n_epochs=4, device="cpu", seed=0),
    "A3C, 2 workers": lambda make: agents.A3C("MlpPolicy", make, n_workers=2, seed=0),
}


def step_rate(name: str, n_envs: int, seconds: float) -> float:
    """Environment steps a second with random actions."""
    env = STEPPED[name](n_envs)
    env.reset()
    actions = np.random.default_rng(0).integers(0, 2, (64, n_envs))
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for row in actions:
            env.step(row)
        steps += actions.size
    env.close()
    return steps / elapsed


class Enough(Exception):  # noqa: N818 - not an error
    """The time is over."""


class Stopwatch(BaseCallback):
    """Counts from the end of the first rollout to the end of a later one: as many rollouts as updates."""

    per_step = False  # asynchronous workers are then spared sending single steps

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.start: float | None = None
        self.first = self.steps = 0
        self.elapsed = 0.0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        now = time.perf_counter()
        if self.start is None:
            self.start, self.first = now, self.model.num_timesteps
        self.steps, self.elapsed = self.model.num_timesteps - self.first, now - self.start
        if self.elapsed >= self.seconds:
            raise Enough


def training_rate(name: str, algorithm: str, n_envs: int, seconds: float) -> float:
    """Environment steps a second of `learn`, without its start."""
    model = ALGORITHMS[algorithm](lambda: STEPPED[name](n_envs))
    watch = Stopwatch(seconds)
    with contextlib.suppress(Enough):
        model.learn(10**9, callback=watch, log_interval=None)
    model.get_env().close()
    return watch.steps / watch.elapsed


def cell(values: list[float]) -> str:
    """Median and range."""
    return f"{median(values):,.0f} [{min(values):,.0f}, {max(values):,.0f}]"


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--n-envs", type=int, nargs="+", default=[1, 16, 256], help="environments stepped (default 1 16 256)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of each (default 3)")
    parser.add_argument("--seconds", type=float, default=0.4, help="of stepping at least (default 0.4)")
    parser.add_argument("--train-seconds", type=float, default=2.0, help="of training at least (default 2)")
    parser.add_argument("--train-n-envs", type=int, nargs="+", default=[16, 128], help="trained in (default 16 128)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    has_pool = importlib.util.find_spec("envpool") is not None
    names = [name for name in STEPPED if has_pool or not name.startswith("EnvPool")]
    stepped: dict[tuple[str, int], list[float]] = {(name, n): [] for name in names for n in arguments.n_envs}
    trained_names = [name for name in TRAINED if name in names]
    columns = [(algorithm, n) for algorithm in ALGORITHMS for n in arguments.train_n_envs]
    trained: dict[tuple[str, str, int], list[float]] = {(name, *c): [] for name in trained_names for c in columns}
    progress = tqdm(total=arguments.repeats * (len(stepped) + len(trained)), unit="run")
    for _ in range(arguments.repeats):
        for (name, n_envs), rates in stepped.items():
            rates.append(step_rate(name, n_envs, arguments.seconds))
            progress.update()
        for (name, algorithm, n_envs), rates in trained.items():
            rates.append(training_rate(name, algorithm, n_envs, arguments.train_seconds))
            progress.update()
    progress.close()
    lines = ["| steps/s, random actions | " + " | ".join(f"{n} environments" for n in arguments.n_envs) + " |"]
    lines.append("|---" * (1 + len(arguments.n_envs)) + "|")
    lines += [f"| {name} | " + " | ".join(cell(stepped[name, n]) for n in arguments.n_envs) + " |" for name in names]
    lines += ["", "| steps/s, training | " + " | ".join(f"{a}, {n} environments" for a, n in columns) + " |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    lines += [f"| {name} | " + " | ".join(cell(trained[name, *c]) for c in columns) + " |" for name in trained_names]
    text = "\n".join(
        [
            "# Vector adapters\n",
            f"{ENV_ID}; environment steps a second, median [range] of {arguments.repeats} interleaved repetitions of "
            f"at least {arguments.seconds:g} s of stepping or {arguments.train_seconds:g} s of training."
            f"{'' if has_pool else ' EnvPool is not installed.'} NEXT_STEP and EnvPool by themselves count their dead "
            "steps, too. Environments of A3C are those of each worker.\n",
            *lines,
            "",
            report.provenance(
                "python -m benchmarks.vector_adapters " + " ".join(sys.argv[1:]), ("envpool",) if has_pool else ()
            ),
            "",
        ]
    )
    print(text)
    report.write("vector_adapters.md", text)


if __name__ == "__main__":
    main()
