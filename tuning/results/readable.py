"""Tables for people: rounded, with headings in words, the interval beside its estimate, the best entries marked."""

from typing import NamedTuple

import numpy as np
import pandas as pd

CAPTION = (
    "Score: return of the final model, the mean over the deterministic episodes of the evaluation at the end of "
    "training (never the best checkpoint); one score a training run, n finished runs. IQM: interquartile mean and its "
    "95 % bootstrap interval over runs, which comes out too short with few runs; bold: the best, and those whose "
    "interval overlaps it. AUC: mean return along the learning curve. Reached: runs with an evaluation at or above the "
    "threshold; to it: median over runs, one that never got there counting as the latest. steps/s: training alone, "
    "without evaluation and start-up."
)
AGGREGATE_CAPTION = (
    "Normalized scores of final models: 0 is the random policy, 1 the environment's reference. Intervals: 95 % "
    "bootstrap, stratified by environment. Optimality gap: mean shortfall below 1. Compare only rows with the same "
    "environments."
)
IMPROVEMENT_CAPTION = (
    "P(X > Y): probability that a run of X ends with a higher score than a run of Y, ties counting half; in brackets "
    "its 95 % bootstrap interval. 0.5 means that neither is better."
)
MISSING = "–"

HEADINGS = {
    "algo_x": "X",
    "algo_y": "Y",
    "auc": "AUC",
    "config_hash": "settings",
    "env": "environment",
    "failures": "failed",
    "iqm": "IQM",
    "n_envs": "envs",
    "n_timesteps": "budget",
    "n_workers": "workers",
    "optimality_gap": "optimality gap",
    "probability": "P(X > Y)",
    "reward_threshold": "threshold",
    "seconds_to_threshold": "seconds to it",
    "steps_per_second": "steps/s",
    "steps_to_threshold": "steps to it",
    "train_seconds": "seconds",
    "variant_x": "variant of X",
    "variant_y": "variant of Y",
}
#: Columns that say nothing where they hold nothing but this.
DULL = {"variant": "", "variant_x": "", "variant_y": "", "unfinished": 0, "error_line": ""}


class Readable(NamedTuple):
    """A table of strings and where its entries are to be set in bold.

    Attributes:
        cells: strings; columns named in words.
        bold: the same shape, True where an entry is among the best.
        numeric: whether each column holds numbers, which are aligned to the right.
    """

    cells: pd.DataFrame
    bold: pd.DataFrame
    numeric: list[bool]


def readable(table: pd.DataFrame) -> Readable:
    """Turn a summary, an aggregate, a pairwise or any other table into text.

    Args:
        table: columns `x`, `x_low` and `x_high` (or `probability`, `low`, `high`) become one column with the interval
            in brackets.

    Returns:
        The text, and which entries are the best. An IQM is marked if it is the highest of its environment (of the
        table, if that does not name environments) or its interval overlaps that one's.
    """
    dull = [name for name, value in DULL.items() if name in table and (table[name] == value).all()]
    shown = table.drop(columns=dull)
    best = _best(shown)
    columns: dict[str, list[str]] = {}
    bold: dict[str, np.ndarray] = {}
    numeric = []
    for name in shown.columns:
        if name.endswith(("_low", "_high")) or name in ("low", "high"):
            continue
        heading = HEADINGS.get(name, name.replace("_", " "))
        cells = _texts(shown[name])
        ends = ("low", "high") if name == "probability" else (f"{name}_low", f"{name}_high")
        if ends[0] in shown:
            heading += " [95 %]"
            decimals = _decimals(shown[name])
            low, high = (_texts(shown[end], decimals) for end in ends)
            cells = [_with_interval(*cell) for cell in zip(cells, low, high, strict=True)]
        columns[heading] = cells
        numeric.append(_is_number(shown[name]))
        bold[heading] = best if name == "iqm" else np.zeros(len(shown), dtype=bool)
    return Readable(pd.DataFrame(columns, dtype=object), pd.DataFrame(bold, dtype=bool), numeric)


def _best(table: pd.DataFrame) -> np.ndarray:
    """Whether each row's IQM is its environment's best or overlaps it."""
    best = np.zeros(len(table), dtype=bool)
    if "iqm" not in table or not len(table):
        return best
    environments = next((table[name].to_numpy() for name in ("env", "environments") if name in table), best)
    for _, group in table.reset_index(drop=True).groupby(environments):
        if group["iqm"].notna().any():
            top = group.loc[group["iqm"].idxmax()]
            overlap = (group["iqm_high"] >= top["iqm_low"]) & (group["iqm_low"] <= top["iqm_high"])
            best[group.index[(overlap & group["iqm"].notna()) | (group.index == top.name)]] = True
    return best


def _texts(column: pd.Series, decimals: int | None = None) -> list[str]:
    """The column's entries as text: numbers with as many decimals as its largest deserves."""
    if not _is_number(column):
        return [" ".join(str(entry).split()) for entry in column]
    if column.name == "seed":
        return [str(seed) for seed in column]
    decimals = _decimals(column) if decimals is None else decimals
    return [MISSING if pd.isna(entry) else f"{entry:,.{decimals}f}" for entry in column]


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _decimals(column: pd.Series) -> int:
    known = column.dropna().to_numpy(dtype=np.float64)
    if not len(known) or pd.api.types.is_integer_dtype(column):
        return 0
    largest = np.max(np.abs(known))
    if np.all(known == np.round(known)):
        return 0 if largest >= 1000 else 1
    return 0 if largest >= 1000 else 1 if largest >= 10 else 2


def _with_interval(estimate: str, low: str, high: str) -> str:
    return estimate if low == MISSING else f"{estimate} [{low}, {high}]"
