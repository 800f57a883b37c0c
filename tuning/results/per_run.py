"""One row a run: its score, its learning curve in one number, its speed, and whether it counts."""

from typing import Any

import pandas as pd

from tuning import statistics
from tuning.results.table import RUN_COLUMNS

NAN = float("nan")
#: What identifies a repetition: two finished runs that agree in all of these are one run made twice.
REPETITION = ["algo", "env", "config_hash", "seed"]


def curve(long: pd.DataFrame, metric: str = "return") -> pd.DataFrame:
    """A metric of each evaluation with the seconds of training until then.

    Args:
        long: the long table, or the part of it that is wanted.
        metric: `return`, `length`, `sampled_return`, ...

    Returns:
        Columns path, step, value, train_seconds; sorted by path and step.
    """
    wide = long[long["metric"].isin([metric, "train_seconds"])].pivot_table(
        index=["path", "step"], columns="metric", values="value", dropna=False, observed=True
    )
    wide = wide.reindex(columns=[metric, "train_seconds"]).rename(columns={metric: "value"})
    return wide.dropna(subset=["value"]).reset_index()


def runs(long: pd.DataFrame) -> pd.DataFrame:
    """One row per run.

    Args:
        long: the long table.

    Returns:
        `RUN_COLUMNS` and
        * `counted`: finished, and the latest such run of its settings and seed: a run that was made twice is no second
          sample. Summaries use the counted runs;
        * `score`: mean return of the deterministic episodes at the end of training; NaN unless the run finished;
        * `auc`: normalized area under the learning curve; NaN unless the run finished;
        * `steps_to_threshold`, `seconds_to_threshold`: first evaluation at or above `reward_threshold`; NaN if none;
        * `num_timesteps`, `train_seconds`, `steps_per_second`: of training alone.
    """
    curves = dict(list(curve(long).groupby("path")))
    none = pd.DataFrame({"step": [], "value": [], "train_seconds": []})
    last = long[long["metric"].isin(["steps_per_second", "train_seconds"])].groupby(["path", "metric"]).last()
    rows = [
        _row(about, curves.get(about["path"], none), last.loc[about["path"]])
        for about in long[list(RUN_COLUMNS)].drop_duplicates("path").to_dict("records")
    ]
    table = pd.DataFrame(rows, columns=[*RUN_COLUMNS, *_MEASURES])
    table.insert(len(RUN_COLUMNS), "counted", _counted(table))
    return table


_MEASURES = (
    "score",
    "auc",
    "steps_to_threshold",
    "seconds_to_threshold",
    "num_timesteps",
    "train_seconds",
    "steps_per_second",
)


def _row(about: dict[str, Any], evaluations: pd.DataFrame, last: pd.DataFrame) -> dict[str, Any]:
    steps, values = evaluations["step"].to_numpy(), evaluations["value"].to_numpy()
    seconds = evaluations["train_seconds"].to_numpy()
    finished = about["status"] == "finished"
    return about | {
        "score": values[-1] if finished and len(values) else NAN,
        "auc": statistics.area_under_curve(steps, values) if finished else NAN,
        "steps_to_threshold": statistics.first_reaching(steps, values, about["reward_threshold"]),
        "seconds_to_threshold": statistics.first_reaching(seconds, values, about["reward_threshold"]),
        "num_timesteps": int(last.loc["steps_per_second", "step"]),
        "train_seconds": last.loc["train_seconds", "value"],
        "steps_per_second": last.loc["steps_per_second", "value"],
    }


def _counted(table: pd.DataFrame) -> pd.Series:
    """Whether each run is the latest finished one of its settings and seed."""
    finished = table[table["status"] == "finished"].sort_values("created", kind="stable")
    latest = finished.drop_duplicates(REPETITION, keep="last").index
    return pd.Series(table.index.isin(latest), index=table.index)
