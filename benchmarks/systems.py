"""One system on one environment for some seconds, in a process of its own.

`python -m benchmarks.systems NAME ENV SECONDS` prints one JSON object: decisions (environment steps) per second, CPU
seconds per million decisions over all its processes, private memory of a worker, updates per second, and the policy
lag: updates by others between a worker's pull and its push.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import multiprocessing as mp  # noqa: E402 - after the one-thread settings, which must come before NumPy

import torch as th  # noqa: E402
from stable_baselines3 import A2C, PPO  # noqa: E402
from stable_baselines3.common.base_class import BaseAlgorithm  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402

import agents  # noqa: E402
from agents.a3c.paper_cnn import PaperCNN  # noqa: E402
from benchmarks import classic_recipe  # noqa: E402
from benchmarks.environments import PONG, make_vec_env  # noqa: E402

Result = dict[str, float]


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        title: for readers.
        measure: (environment id, seconds) -> result.
        images: whether it is measured on image environments too.
    """

    title: str
    measure: Callable[[str, float], Result]
    images: bool = True


class _StopAfter(BaseCallback):
    """Ends training after some seconds, not counting what came before the first segment."""

    per_step = False

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.start = self.start_cpu = 0.0
        self.first = self.last = 0
        self.first_updates = self.last_updates = 0
        self.elapsed = 0.0
        self.memory = 0.0
        self.lags: list[float] = []

    def _on_step(self) -> bool:
        return self._look()

    def _on_rollout_end(self) -> None:
        lag = self.locals.get("statistics", {})
        if callable(lag):
            lag = {}
        if "policy_lag" in lag:
            self.lags.append(lag["policy_lag"])
        if not self._look():
            raise _Enough

    def _look(self) -> bool:
        now = time.perf_counter()
        if not self.start:
            self.start, self.start_cpu = now, _cpu_seconds()
            self.first, self.first_updates = self.model.num_timesteps, self.model._n_updates
        if now - self.start < self.seconds:
            return True
        self.last, self.last_updates, self.elapsed = self.model.num_timesteps, self.model._n_updates, now - self.start
        self.cpu = _cpu_seconds() - self.start_cpu
        self.memory = _worker_memory()
        return False


class _Enough(Exception):  # noqa: N818 - not an error
    """The time is over."""


def _processes() -> list[int]:
    """This process and all below it, whichever server they were forked from."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, own = [os.getpid()], os.getpid()
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != own:
            ancestor = parents[ancestor]
        if ancestor == own and pid != own:
            found.append(pid)
    return found


def _cpu_seconds() -> float:
    ticks = 0
    for pid in _processes():
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _worker_memory() -> float:
    """Private memory of the largest process that is not this one, in MB; 0 where there is none but servers."""
    sizes = []
    for pid in _processes()[1:]:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                lines = [line for line in file if line.startswith(("Private_Clean", "Private_Dirty"))]
            with open(f"/proc/{pid}/cmdline") as file:
                command = file.read()
        except OSError:
            continue
        children = {p for p in _processes() if p != pid and _parent(p) == pid}
        if "resource_tracker" not in command and not children:
            sizes.append(sum(int(line.split()[1]) for line in lines) / 1024)
    return max(sizes, default=0.0)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _train(model: BaseAlgorithm, seconds: float) -> Result:
    watch = _StopAfter(seconds)
    with contextlib.suppress(_Enough):
        model.learn(10**12, callback=watch, log_interval=None)
    steps = watch.last - watch.first
    updates = watch.last_updates - watch.first_updates
    return {
        "decisions_per_second": steps / watch.elapsed,
        "cpu_seconds_per_million": watch.cpu / steps * 1e6,
        "worker_mb": watch.memory,
        "updates_per_second": updates / watch.elapsed,
    } | ({"policy_lag": sum(watch.lags) / len(watch.lags)} if watch.lags else {})


def _policy(env_id: str) -> tuple[str, dict[str, Any]]:
    if env_id == PONG:
        return "CnnPolicy", {"features_extractor_class": PaperCNN, "net_arch": []}
    return "MlpPolicy", {"net_arch": [64, 64]}


def _ours(env_id: str, seconds: float, algo: str, n_workers: int, n_steps: int, n_envs: int) -> Result:
    policy, policy_kwargs = _policy(env_id)
    model = getattr(agents, algo)(
        policy if algo == "A3C" or env_id == PONG else "MlpPolicy",
        partial(make_vec_env, env_id, n_envs),
        n_workers=n_workers,
        n_steps=n_steps,
        learning_rate=1e-4,
        policy_kwargs=policy_kwargs,
        seed=0,
    )
    return _train(model, seconds)


def _sb3(env_id: str, seconds: float, cls: Any, n_envs: int, subprocesses: bool, **settings: Any) -> Result:
    policy, policy_kwargs = _policy(env_id)
    venv = make_vec_env(env_id, n_envs, subprocesses)
    model = cls(policy, venv, policy_kwargs=policy_kwargs, device="cpu", seed=0, **settings)
    try:
        return _train(model, seconds)
    finally:
        venv.close()


def _classic(env_id: str, seconds: float, n_workers: int, n_steps: int) -> Result:
    steps, elapsed = classic_recipe.measure(env_id, seconds, n_workers, n_steps)
    return {"decisions_per_second": steps / elapsed}


def _random_steps(env_id: str, seconds: float, n_envs: int, pipe: Any) -> None:
    venv = make_vec_env(env_id, n_envs)
    envs = getattr(venv, "envs", None)
    if n_envs == 1 and envs is not None:
        env = envs[0]
        env.reset(seed=0)
        actions = [env.action_space.sample() for _ in range(1000)]
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for action in actions:
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
            steps += len(actions)
    else:
        import numpy as np

        venv.reset()
        batches = [np.stack([venv.action_space.sample() for _ in range(n_envs)]) for _ in range(100)]
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for batch in batches:
                venv.step(batch)
            steps += len(batches) * n_envs
    pipe.send(steps / (time.perf_counter() - start))


def _ceiling(env_id: str, seconds: float, n_processes: int) -> Result:
    context = mp.get_context("forkserver")
    pipes, processes = [], []
    for _ in range(n_processes):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_random_steps, args=(env_id, seconds, 1, send))
        process.start()
        pipes.append(receive)
        processes.append(process)
    rates = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return {"decisions_per_second": sum(rates)}


_ZOO_PPO_CARTPOLE: dict[str, Any] = {"n_steps": 32, "batch_size": 256, "n_epochs": 20}

SYSTEMS: dict[str, System] = {
    "ceiling": System("ceiling: random actions, 2 processes", partial(_ceiling, n_processes=2)),
    "a3c-1-5": System("A3C, 1 worker, n_steps 5", partial(_ours, algo="A3C", n_workers=1, n_steps=5, n_envs=1)),
    "a3c-1-20": System("A3C, 1 worker, n_steps 20", partial(_ours, algo="A3C", n_workers=1, n_steps=20, n_envs=1)),
    "a3c-2-5": System("A3C, 2 workers, n_steps 5", partial(_ours, algo="A3C", n_workers=2, n_steps=5, n_envs=1)),
    "a3c-2-20": System("A3C, 2 workers, n_steps 20", partial(_ours, algo="A3C", n_workers=2, n_steps=20, n_envs=1)),
    "a3c-2x8-5": System(
        "A3C, 2 workers x 8 environments, n_steps 5", partial(_ours, algo="A3C", n_workers=2, n_steps=5, n_envs=8)
    ),
    "a3c-2x8-20": System(
        "A3C, 2 workers x 8 environments, n_steps 20", partial(_ours, algo="A3C", n_workers=2, n_steps=20, n_envs=8)
    ),
    "q-2-5": System(
        "one-step Q, 2 workers, n_steps 5", partial(_ours, algo="AsyncQLearning", n_workers=2, n_steps=5, n_envs=1)
    ),
    "nq-2-5": System(
        "n-step Q, 2 workers, n_steps 5", partial(_ours, algo="AsyncNStepQ", n_workers=2, n_steps=5, n_envs=1)
    ),
    **{
        f"a2c-{n}-{kind}": System(
            f"SB3 A2C, {n} environments, {kind}",
            partial(_sb3, cls=A2C, n_envs=n, subprocesses=kind == "Subproc"),
        )
        for n in (1, 2, 8, 16)
        for kind in ("Dummy", "Subproc")
    },
    "a2c-16-Dummy-20": System(
        "SB3 A2C, 16 environments, Dummy, n_steps 20", partial(_sb3, cls=A2C, n_envs=16, subprocesses=False, n_steps=20)
    ),
    "ppo-8": System(
        "SB3 PPO, 8 environments, CartPole's zoo settings",
        partial(_sb3, cls=PPO, n_envs=8, subprocesses=False, **_ZOO_PPO_CARTPOLE),
    ),
    "classic-5": System(
        "classic recipe, 2 workers, n_steps 5", partial(_classic, n_workers=2, n_steps=5), images=False
    ),
    "classic-20": System(
        "classic recipe, 2 workers, n_steps 20", partial(_classic, n_workers=2, n_steps=20), images=False
    ),
}


def main() -> None:
    """Measure one system and print its result."""
    name, env_id, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    th.set_num_threads(1)
    print(json.dumps(SYSTEMS[name].measure(env_id, seconds)))


if __name__ == "__main__":
    main()
