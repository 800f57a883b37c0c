"""Across environments, and one algorithm against another: normalized aggregates and probability of improvement."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from tuning import statistics
from tuning.results.normalization import REFERENCES, Reference, scale_of
from tuning.results.per_run import runs

Strata = Sequence[np.ndarray]
AGGREGATES = {"iqm": statistics.iqm, "mean": statistics.mean, "optimality_gap": statistics.optimality_gap}
#: What the row over all shared environments says instead of an environment.
ALL = "(all)"
Competitor = tuple[str, str]  # algo, variant


def aggregate(long: pd.DataFrame, references: Mapping[str, Reference] | None = None) -> pd.DataFrame:
    """Aggregate each algorithm's scores over environments, on normalized scores only.

    Compare only rows with the same `environments`. Each environment has the same weight, whatever its number of runs;
    runs are resampled within their environment.

    Args:
        long: the long table.
        references: returns of a random and a reference policy for environments that `REFERENCES` lacks or has others
            for.

    Returns:
        One row per (algo, variant): `environments` (names joined by ", "), `n` (finished runs in all of them), and
        `iqm`, `mean` and `optimality_gap` (mean shortfall below 1; less is better), each with `_low` and `_high`, its
        95 % stratified bootstrap interval (NaN where an environment has one run).

    Raises:
        UsageError: an environment has no reference scores.
    """
    scales = {**REFERENCES, **(references or {})}
    rows = []
    for (algo, variant), scores in _scores(long).items():
        strata = []
        for env, values in scores.items():
            scale = scale_of(env, scales)
            strata.append((values - scale.random) / (scale.reference - scale.random))
        row: dict[str, Any] = {"algo": algo, "variant": variant, "environments": ", ".join(scores)}
        row["n"] = sum(len(stratum) for stratum in strata)
        for name, statistic in AGGREGATES.items():
            pooled = partial(_pooled, statistic)
            low, high, _ = statistics.stratified_interval(strata, pooled)
            row |= {name: float(pooled(strata)), f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    names = [f"{name}{end}" for name in AGGREGATES for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["algo", "variant", "environments", "n", *names])


def pairwise(long: pd.DataFrame) -> pd.DataFrame:
    """Probability of improvement of each algorithm over each other one.

    Args:
        long: the long table.

    Returns:
        One row per pair of (algo, variant) and environment in which both have finished runs, and one row with `env`
        "(all)", the mean over these environments, where there are several: `algo_x`, `variant_x`, `algo_y`,
        `variant_y`, `env`, `n_x`, `n_y`, `probability` that a run of X scores higher than a run of Y (ties half),
        `low`, `high`: its 95 % stratified bootstrap interval.
    """
    scores = _scores(long)
    rows = []
    for x, y in combinations(scores, 2):
        shared = {env: (scores[x][env], scores[y][env]) for env in scores[x] if env in scores[y]}
        rows += [_improvement(x, y, env, [pair]) for env, pair in shared.items()]
        if len(shared) > 1:
            rows.append(_improvement(x, y, ALL, list(shared.values())))
    return pd.DataFrame(
        rows,
        columns=["env", "algo_x", "variant_x", "algo_y", "variant_y", "n_x", "n_y", "probability", "low", "high"],
    )


def _pooled(statistic: Callable[..., np.ndarray], strata: Strata) -> np.ndarray:
    return statistic(*statistics.pool(strata))


def _scores(long: pd.DataFrame) -> dict[Competitor, dict[str, np.ndarray]]:
    """Scores [n] of the counted runs by competitor and environment."""
    table = runs(long)
    table = table[table["counted"]]
    scores: dict[Competitor, dict[str, np.ndarray]] = {}
    for (algo, variant, env), group in table.groupby(["algo", "variant", "env"]):
        scores.setdefault((algo, variant), {})[env] = group["score"].to_numpy()
    return scores


def _improvement(
    x: Competitor, y: Competitor, env: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    interval = statistics.improvement_interval(pairs)
    return {
        "env": env,
        "algo_x": x[0],
        "variant_x": x[1],
        "algo_y": y[0],
        "variant_y": y[1],
        "n_x": sum(len(scores) for scores, _ in pairs),
        "n_y": sum(len(scores) for _, scores in pairs),
        "probability": statistics.average_probability_of_improvement(pairs),
        "low": interval.low,
        "high": interval.high,
    }
