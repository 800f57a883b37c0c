"""The tidy long table: one row per run, step and metric, read from run folders."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from tuning.errors import UsageError
from tuning.results.variants import config_hash, variant_labels
from tuning.runs import RunFolder, find_runs, open_run

#: What a row says about its run.
RUN_COLUMNS = (
    "algo",  # registry key
    "variant",  # what sets its settings apart from the other runs of this algorithm here; "" if nothing does
    "env",
    "seed",
    "run_id",
    "status",  # running, finished, failed, interrupted
    "n_timesteps",  # the budget, environment steps
    "n_envs",  # training environments a process steps together
    "n_workers",  # processes of an asynchronous algorithm; 1 otherwise
    "reward_threshold",  # NaN where the environment has none and none was given
    "config_hash",
    "created",  # ISO 8601
    "error_line",  # why it failed; "" otherwise
    "path",
)
#: Metrics of an evaluation: `return` and `length`, means over its deterministic episodes; `n_episodes`, how many;
#: `train_seconds`, spent on training until then; `sampled_return` and `sampled_length`, where actions were sampled.
#: Metrics of a run, at its last step: `steps_per_second` and `train_seconds`, of training alone.
COLUMNS = (*RUN_COLUMNS, "step", "metric", "value")

Source = str | PathLike[str] | RunFolder


def load(source: Source | Iterable[Source], thresholds: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Read run folders into the long table.

    Args:
        source: a folder with runs anywhere below it, a run's folder, or several of them.
        thresholds: reward threshold by environment, for environments without one (Pendulum-v1) or in its place.

    Returns:
        One row per (run, step, metric), with `COLUMNS`; every run has at least its `steps_per_second`. Empty if there
        are no runs.

    Raises:
        UsageError: a folder does not exist, or a run in it is not readable.
    """
    runs = _find(source)
    configs = {run.path: run.config() for run in runs}
    described = [_describe(run, configs[run.path], thresholds or {}) for run in runs]
    labels = _labels(described, configs)
    rows: list[dict[str, Any]] = []
    for run, about in zip(runs, described, strict=True):
        about["variant"] = labels[about["algo"], about["env"], about["config_hash"]]
        rows += [about | {"step": step, "metric": name, "value": value} for step, name, value in _measurements(run)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _find(source: Source | Iterable[Source]) -> list[RunFolder]:
    if isinstance(source, RunFolder):
        return [source]
    if isinstance(source, str | PathLike):
        root = Path(source)
        if not root.is_dir():
            raise UsageError(f"{root} is no folder; give one that holds runs, such as runs/")
        return [open_run(run.path) for run in find_runs(root)]
    found = {run.path.resolve(): run for one in source for run in _find(one)}  # each run once
    return list(found.values())


def _describe(run: RunFolder, config: dict[str, Any], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """What all rows of a run share; the variant is known only when all runs are."""
    about, status = run.read(), run.status
    return {
        "algo": about["algo"],
        "variant": "",
        "env": about["env"],
        "seed": about["seed"],
        "run_id": about["run_id"],
        "status": status["status"],
        "n_timesteps": about["n_timesteps"],
        "n_envs": config.get("n_envs", 1),
        "n_workers": config.get("hyperparams", {}).get("n_workers", 1),
        "reward_threshold": _reward_threshold(about, thresholds),
        "config_hash": config_hash(config),
        "created": about["created"],
        "error_line": status.get("error_line") or "",
        "path": str(run.path),
    }


def _reward_threshold(about: Mapping[str, Any], thresholds: Mapping[str, float]) -> float:
    """The given reward threshold, else the one the run recorded, else the registered environment's, else NaN."""
    import gymnasium

    env = about["env"]
    if env in thresholds:
        return float(thresholds[env])
    if "reward_threshold" in about:
        threshold = about["reward_threshold"]
    else:
        try:
            threshold = gymnasium.spec(env).reward_threshold
        except gymnasium.error.Error:  # runs stay readable where their environment's package is not installed
            threshold = None
    return float("nan") if threshold is None else float(threshold)


def _labels(described: list[dict[str, Any]], configs: dict[Path, dict[str, Any]]) -> dict[tuple[str, str, str], str]:
    """Variant label by algorithm, environment and configuration hash."""
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for about, config in zip(described, configs.values(), strict=True):
        groups.setdefault((about["algo"], about["env"]), {})[about["config_hash"]] = config
    return {
        (algo, env, digits): label
        for (algo, env), siblings in groups.items()
        for digits, label in variant_labels(siblings).items()
    }


def _measurements(run: RunFolder) -> list[tuple[int, str, float]]:
    """(step, metric, value) of one run, in the order of its steps."""
    status = run.status
    rows: dict[tuple[int, str], float] = {}
    for (step, sampled), episodes in run.evaluations().groupby(["num_timesteps", "sampled"]):
        prefix = "sampled_" if sampled else ""
        rows[step, f"{prefix}return"] = episodes["return"].mean()
        rows[step, f"{prefix}length"] = episodes["length"].mean()
        rows[step, f"{prefix}n_episodes"] = len(episodes)
        rows[step, "train_seconds"] = episodes["train_seconds"].iloc[-1]
    last = status["num_timesteps"]
    rows[last, "steps_per_second"] = status["steps_per_second"]
    rows[last, "train_seconds"] = status["train_seconds"]
    return [(int(step), name, float(value)) for (step, name), value in sorted(rows.items(), key=lambda row: row[0][0])]
