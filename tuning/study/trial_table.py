"""A study's trials as a pandas table: one row a trial, settings in columns of their own."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from tuning import results
from tuning.results.formats import SUFFIXES
from tuning.study import attributes
from tuning.study.lost_trials import is_lost, reason
from tuning.study.slots import PROCESS, history


def trial_table(study: optuna.Study, objectives: Sequence[str] | None = None) -> pd.DataFrame:
    """All trials that were begun, lost ones included.

    Args:
        study: any study.
        objectives: names of its values; value, or value_0, value_1, ... by default.

    Returns:
        One row a trial, by number: number, state ("complete", "pruned", "failed", "lost", "running"), a column for each
        objective, a column for each parameter in alphabetical order, retry_of (number of the lost trial that it
        repeats), steps and seconds of training, where they are known, start (local time), duration in seconds, host,
        and error (why it failed, in one line).
    """
    names = list(objectives or _value_names(len(study.directions)))
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    parameters = sorted({name for trial in trials for name in trial.params})
    columns = ["number", "state", *names, *(_column(name, names) for name in parameters)]
    columns += ["retry_of", "num_timesteps", "train_seconds", "start", "duration", "host", "error"]
    table = pd.DataFrame([_row(trial, names, parameters) for trial in trials], columns=columns)
    return table.astype({"retry_of": "Int64", "num_timesteps": "Int64"})


def write_trial_table(table: pd.DataFrame, folder: Path, formats: Iterable[str] = ("csv",)) -> list[Path]:
    """Write `trials.<ending>` in these of the results' formats.

    Raises:
        UsageError: an unknown format.
        MissingExtraError: a format needs a package that is not installed.
    """
    endings = {name: ending for ending, name in SUFFIXES.items()}
    paths = []
    for name in formats:
        path = folder / f"trials{endings.get(name, '')}"
        results.to_file(table, name, path)
        paths.append(path)
    return paths


def state_of(trial: FrozenTrial) -> str:
    """How a trial stands, in a word: Optuna's states, with lost trials told from failed ones."""
    if is_lost(trial):
        return "lost"
    return "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()


def error_of(trial: FrozenTrial) -> str:
    """Why a trial failed or was lost, in one line; "" for the others."""
    if trial.state != TrialState.FAIL:
        return ""
    return reason(trial) if is_lost(trial) else str(trial.user_attrs.get(attributes.ERROR, "no cause was noted"))


def _row(trial: FrozenTrial, names: Sequence[str], parameters: Sequence[str]) -> dict[str, Any]:
    attrs = trial.user_attrs
    row: dict[str, Any] = {"number": trial.number, "state": state_of(trial), "error": error_of(trial)}
    row |= dict(zip(names, trial.values or [None] * len(names), strict=True))
    row |= {_column(name, names): trial.params.get(name) for name in parameters}
    row["retry_of"] = history(trial)[-1] if history(trial) else None
    done = attrs.get(attributes.RESULT, {})
    row["num_timesteps"] = done.get(attributes.NUM_TIMESTEPS)
    row["train_seconds"] = done.get(attributes.TRAIN_SECONDS)
    row["start"] = trial.datetime_start
    row["duration"] = trial.duration.total_seconds() if trial.duration else None
    row["host"] = attrs.get(PROCESS, {}).get("host")
    return row


def _column(parameter: str, objectives: Sequence[str]) -> str:
    """A parameter's column; one that is called like another column is told from it."""
    taken = {*objectives, "number", "state", "retry_of", "num_timesteps", "train_seconds", "start", "duration"}
    return f"params.{parameter}" if parameter in {*taken, "host", "error"} else parameter


def _value_names(count: int) -> list[str]:
    return ["value"] if count == 1 else [f"value_{index}" for index in range(count)]
