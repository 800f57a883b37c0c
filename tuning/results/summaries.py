"""One row per algorithm, variant and environment: what the runs say together."""

from typing import Any

import pandas as pd

from tuning import statistics
from tuning.results.per_run import REPETITION, runs

#: What a row of the summary is about.
GROUP = ["env", "algo", "variant"]
SUMMARY_COLUMNS = (
    "algo",
    "variant",
    "env",
    "n",
    "failures",
    "unfinished",
    "mean",
    "std",
    "median",
    "iqm",
    "iqm_low",
    "iqm_high",
    "min",
    "max",
    "auc",
    "reward_threshold",
    "reached",
    "steps_to_threshold",
    "seconds_to_threshold",
    "steps_per_second",
    "n_timesteps",
    "n_envs",
    "n_workers",
)


def summary(long: pd.DataFrame) -> pd.DataFrame:
    """Summarize the runs of each algorithm and variant in each environment.

    Args:
        long: the long table.

    Returns:
        One row per (algo, variant, env):
        * `n`: finished runs, each seed once; everything below is over these;
        * `failures`: failed runs, also those whose seed was run again with success;
        * `unfinished`: runs that still run or were interrupted, and whose seed has not finished either;
        * `mean`, `std`, `median`, `iqm`, `min`, `max` of the score, the final model's return; `iqm_low` and `iqm_high`
          are its IQM's 95 % bootstrap interval (NaN for n < 2);
        * `auc`: mean normalized area under the learning curve;
        * `reward_threshold` of the environment, NaN if it has none; `reached`: runs with an evaluation at or above it
          (missing if there is none); `steps_to_threshold` and `seconds_to_threshold`: medians, a run that never did
          counting as later than all others (NaN if that is half of them or more);
        * `steps_per_second`: mean, of training alone;
        * `n_timesteps`, `n_envs`, `n_workers`: what each run was given.
    """
    table = runs(long)
    rows = [
        {"env": env, "algo": algo, "variant": variant, **_summarize(group)}
        for (env, algo, variant), group in table.groupby(GROUP)
    ]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).astype({"reached": "Int64"})


def _summarize(group: pd.DataFrame) -> dict[str, Any]:
    counted = group[group["counted"]]
    scores = counted["score"].to_numpy()
    low, high, n = statistics.interval(scores, statistics.iqm)
    about = group.iloc[0]
    return {
        "n": n,
        "failures": int((group["status"] == "failed").sum()),
        "unfinished": _unfinished(group),
        "mean": float(statistics.mean(scores)),
        "std": float(statistics.std(scores)),
        "median": float(statistics.median(scores)),
        "iqm": float(statistics.iqm(scores)),
        "iqm_low": low,
        "iqm_high": high,
        "min": counted["score"].min(skipna=False),
        "max": counted["score"].max(skipna=False),
        "auc": float(statistics.mean(counted["auc"])),
        "reward_threshold": about["reward_threshold"],
        "reached": int(counted["steps_to_threshold"].notna().sum()) if pd.notna(about["reward_threshold"]) else pd.NA,
        "steps_to_threshold": statistics.censored_median(counted["steps_to_threshold"]),
        "seconds_to_threshold": statistics.censored_median(counted["seconds_to_threshold"]),
        "steps_per_second": float(statistics.mean(counted["steps_per_second"])),
        "n_timesteps": about["n_timesteps"],
        "n_envs": about["n_envs"],
        "n_workers": about["n_workers"],
    }


def _unfinished(group: pd.DataFrame) -> int:
    pending = group[group["status"].isin(["running", "interrupted"])].drop_duplicates(REPETITION)
    return int((~pending["seed"].isin(group.loc[group["counted"], "seed"])).sum())
