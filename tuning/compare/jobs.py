"""What is to be trained: one job a run, checked before anything starts."""

import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.config import RunConfig, resolve
from tuning.errors import UsageError
from tuning.runs import RunFolder, make_run_id, run_path

_NAME = re.compile(r"s\d+-[0-9a-f]{8}(?:-(\d+))?")  # as runs are named, and again with -2, -3, ...


@dataclass(frozen=True)
class Job:
    """One run of a comparison.

    Attributes:
        config: what the run is to do, complete and checked.
        runs_dir: folder below which runs lie.
        cores: processor cores it keeps busy: its workers if it is asynchronous, else its torch threads.
        arguments: what follows `actorzoo` on the command line that trains it.
    """

    config: RunConfig
    runs_dir: Path
    cores: int
    arguments: tuple[str, ...]

    @property
    def label(self) -> str:
        """The run in words."""
        return f"{self.config.algo} {self.config.env} seed {self.config.seed}"

    @property
    def command(self) -> list[str]:
        """The command line that trains it, with this interpreter."""
        return [sys.executable, "-m", "tuning", *self.arguments]

    @property
    def path(self) -> Path:
        """The folder of its first attempt; later ones end with -2, -3, ..."""
        run_id = make_run_id(self.config.seed, self.config.to_data())
        return run_path(self.runs_dir, self.config.algo, self.config.env, run_id)

    def attempts(self) -> list[RunFolder]:
        """The run folders of this configuration and seed, oldest first.

        What counts is the configuration that lies in the folder: its name is a hash of what counted when it was made.
        """
        seed, mine = self.config.seed, self.path.name
        found = []
        for folder in self.path.parent.glob(f"s{seed}-*"):
            match, run = _NAME.fullmatch(folder.name), RunFolder(folder)
            if not match or not (folder / "run.json").is_file() or not (folder / "status.json").is_file():
                continue
            if make_run_id(seed, run.config()) == mine:
                found.append((run.read()["created"], int(match[1] or 1), folder))
        return [RunFolder(folder) for _, _, folder in sorted(found)]

    def finished(self) -> RunFolder | None:
        """Its latest finished attempt; None if there is none."""
        done = [run for run in self.attempts() if run.status["status"] == "finished"]
        return done[-1] if done else None


def plan(
    algos: Sequence[str],
    envs: Sequence[str],
    seeds: Sequence[int],
    *,
    runs_dir: Path,
    n_timesteps: int | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    import_modules: Sequence[str] = (),
) -> list[Job]:
    """All runs of a comparison, checked; nothing is started or written.

    Algorithms alternate: whatever slows the machine down for a while slows all of them, not the last one.

    Args:
        algos: registry keys or class names.
        envs: environment ids.
        seeds: one run each.
        runs_dir: folder below which runs lie.
        n_timesteps: budget of every run; None: that of the algorithm's configuration.
        hyperparams: as data, over the configured ones, for every algorithm; a key that begins with an algorithm's and a
            dot (`a3c.n_workers`) is for that one alone.
        import_modules: modules that register environments.

    Returns:
        Jobs by seed, then environment, then algorithm.

    Raises:
        UsageError: an algorithm, environment, action space or hyperparameter does not fit, or nothing is asked for.
    """
    for name, given in (("algo", algos), ("env", envs), ("seed", seeds)):
        if not given:
            raise UsageError(f"no {name} to compare; give at least one")
    keys = list(dict.fromkeys(_key(algo) for algo in algos))
    templates = {}
    for env in dict.fromkeys(envs):
        for algo in keys:
            own = _own_hyperparams(hyperparams or {}, algo, keys)
            modules = list(import_modules) or None
            config = resolve(algo, env, hyperparams=own, n_timesteps=n_timesteps, import_modules=modules)
            templates[env, algo] = config, _arguments(algo, env, runs_dir, n_timesteps, own, import_modules)
    return [
        Job(
            config=config.model_copy(update={"seed": seed}),
            runs_dir=runs_dir,
            cores=_cores(config),
            arguments=(*arguments, "--seed", str(seed)),
        )
        for seed in dict.fromkeys(seeds)
        for config, arguments in templates.values()
    ]


def job_of_file(file: Path, seed: int, runs_dir: Path) -> Job:
    """The run of a configuration file with a seed of its own.

    Args:
        file: as `actorzoo train --config` takes it.
        seed: in place of the file's.
        runs_dir: folder below which the run will lie.

    Raises:
        UsageError: something in the file is wrong.
    """
    config = resolve(config=file, seed=seed)
    arguments = ["train", "--config", str(file), "--seed", str(seed), "--runs-dir", str(runs_dir), "--no-progress"]
    return Job(config=config, runs_dir=runs_dir, cores=_cores(config), arguments=tuple(arguments))


def refuse_running(jobs: Sequence[Job]) -> None:
    """Leave runs alone that another process on this machine is training right now.

    A run that was running on another machine counts as interrupted: nobody can ask whether it still lives.

    Raises:
        UsageError: there is one.
    """
    for job in jobs:
        for run in job.attempts():
            status = run.status
            if status["status"] == "running" and status.get("host") == platform.node():
                raise UsageError(
                    f"{run.path} is being trained by process {status['pid']} right now; wait until it ends, or stop it"
                )


def budget_notes(jobs: Sequence[Job]) -> list[str]:
    """A sentence for each environment in which the algorithms do not get the same number of steps."""
    budgets: dict[str, dict[str, int]] = {}
    for job in jobs:
        budgets.setdefault(job.config.env, {})[job.config.algo] = job.config.n_timesteps
    return [
        f"Budgets differ on {env} ({', '.join(f'{algo} {n:,}' for algo, n in steps.items())} steps): "
        "compare scores with care, or give all the same with --n-timesteps."
        for env, steps in budgets.items()
        if len(set(steps.values())) > 1
    ]


def _key(algo: str) -> str:
    from agents import registry

    try:
        return registry.get(algo).key
    except ValueError as error:
        raise UsageError(str(error)) from error


def _own_hyperparams(hyperparams: Mapping[str, Any], algo: str, algos: Sequence[str]) -> dict[str, Any]:
    """The entries for this algorithm, without its prefix; an entry for it alone outranks one for all."""
    common = {key: value for key, value in hyperparams.items() if key.partition(".")[0].lower() not in algos}
    own = {key.partition(".")[2]: value for key, value in hyperparams.items() if key.partition(".")[0].lower() == algo}
    return common | own


def _cores(config: RunConfig) -> int:
    from agents import registry

    if registry.get(config.algo).asynchronous:
        return int(config.hyperparams.get("n_workers", 1))
    return config.threads


def _arguments(
    algo: str,
    env: str,
    runs_dir: Path,
    n_timesteps: int | None,
    hyperparams: Mapping[str, Any],
    import_modules: Sequence[str],
) -> tuple[str, ...]:
    arguments = ["train", "--algo", algo, "--env", env, "--runs-dir", str(runs_dir), "--no-progress"]
    if n_timesteps is not None:
        arguments += ["--n-timesteps", str(n_timesteps)]
    for key, value in hyperparams.items():
        arguments += ["--hyperparams", f"{key}:{json.dumps(value)}"]
    for module in import_modules:
        arguments += ["--import-module", module]
    return tuple(arguments)
