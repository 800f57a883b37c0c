"""Run folders made by hand, so that what reads runs is tested without training any."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import yaml

from tuning.runs import env_folder_name, make_run_id

HEADER = "num_timesteps,train_seconds,episode,return,length,sampled\n"


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a run folder below tmp_path / "runs" and returns its path."""

    def make(
        algo: str = "a2c",
        seed: int = 0,
        curve: Mapping[int, Sequence[float] | float] | None = None,
        *,
        env: str = "CartPole-v1",
        status: str = "finished",
        hyperparams: Mapping[str, Any] | None = None,
        sampled: Mapping[int, Sequence[float]] | None = None,
        steps_per_second: float = 1000.0,
        seconds_per_step: float = 0.001,
        n_timesteps: int = 200,
        error_line: str | None = None,
        created: str = "2026-01-01T00:00:00+00:00",
        suffix: str = "",
        **settings: Any,
    ) -> Path:
        curve = {100: [10.0, 20.0], 200: [30.0, 50.0]} if curve is None else curve
        config = {"algo": algo, "env": env, "seed": seed, "n_timesteps": n_timesteps, "n_envs": 1}
        config |= {"hyperparams": dict(hyperparams or {})} | settings
        run_id = make_run_id(seed, config) + suffix
        path = tmp_path / "runs" / algo / env_folder_name(env) / run_id
        path.mkdir(parents=True)
        last = max(curve, default=0)
        about = {"format": 1, "algo": algo, "env": env, "seed": seed, "run_id": run_id, "n_timesteps": n_timesteps}
        about |= {"created": created, "versions": {"numpy": "2.4.0"}, "hardware": {}, "command": [], "tags": {}}
        state = {"status": status, "num_timesteps": last, "train_seconds": last * seconds_per_step}
        state |= {"steps_per_second": steps_per_second, "updated": created, "pid": 1}
        state |= {"error": error_line, "error_line": error_line}
        rows = []
        for is_sampled, episodes_by_step in ((0, curve), (1, sampled or {})):
            for step, returns in episodes_by_step.items():
                returns = [returns] if isinstance(returns, int | float) else returns
                rows += [
                    f"{step},{step * seconds_per_step},{episode},{value},{value + 1:.0f},{is_sampled}\n"
                    for episode, value in enumerate(returns)
                ]
        (path / "run.json").write_text(json.dumps(about))
        (path / "status.json").write_text(json.dumps(state))
        (path / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
        (path / "evaluations.csv").write_text(HEADER + "".join(rows))
        return path

    return make


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """A function that writes an importable module and returns its name.

    What the module registers with Gymnasium is forgotten after the test: workers that later tests start would look for
    classes in a file that is gone.
    """
    import_module("ale_py")  # registers its games once a process, which must stay
    monkeypatch.syspath_prepend(tmp_path)
    known = set(gym.registry)
    names = []

    def make(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)
        return name

    yield make
    for env_id in set(gym.registry) - known:
        del gym.registry[env_id]
    for name in names:
        sys.modules.pop(name, None)
