"""What a training run is worth, from its evaluations; pure functions.

A run's score never takes the best of several evaluations: the maximum of noisy values is biased, and the more so the
noisier the run (Henderson et al. 2018; Agarwal et al. 2021).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning import statistics
from tuning.study.config import Metric

if TYPE_CHECKING:
    import pandas as pd

PENALTY = 2.0  # PAR2: a run that never arrives counts as twice its budget (the usual score in algorithm configuration)


@dataclass(frozen=True)
class Evaluations:
    """A run's evaluations with deterministic actions, in the order of their steps.

    Attributes:
        steps: [n], environment steps at each evaluation.
        returns: [n], the episodes' returns of each.
        train_seconds: spent on training until the last one.
    """

    steps: tuple[int, ...]
    returns: tuple[tuple[float, ...], ...]
    train_seconds: float

    @property
    def means(self) -> list[float]:
        """[n], mean return of each evaluation."""
        return [math.fsum(episodes) / len(episodes) for episodes in self.returns]


@dataclass(frozen=True)
class Scoring:
    """How runs are scored.

    Attributes:
        last_evaluations: of `last_mean` and `iqm`: how many at the end of the run; fewer where it has fewer.
        threshold: of `steps_to_threshold`.
        n_timesteps: budget of the run.
    """

    last_evaluations: int
    threshold: float | None
    n_timesteps: int


def score(metric: Metric, run: Evaluations, scoring: Scoring) -> float:
    """One number for one run.

    * `last_mean`: mean return over the last k evaluations.
    * `iqm`: interquartile mean over the episodes of the last k evaluations.
    * `auc`: area under the curve of evaluation means divided by the steps it spans; the only mean for one evaluation.
    * `steps_to_threshold`: steps at the first evaluation with a mean of at least the threshold; twice the budget (PAR2)
      where there is none.
    * `train_seconds`: as measured, without evaluations.

    Returns:
        The score; NaN if a return it depends on is NaN, or there is no evaluation.
    """
    if not run.steps:
        return math.nan
    last = run.returns[-scoring.last_evaluations :]
    if metric is Metric.LAST_MEAN:
        return float(statistics.mean(run.means[-scoring.last_evaluations :]))
    if metric is Metric.IQM:
        return float(statistics.iqm([value for episodes in last for value in episodes]))
    if metric is Metric.AUC:
        return run.means[0] if len(run.steps) == 1 else statistics.area_under_curve(run.steps, run.means)
    if metric is Metric.STEPS_TO_THRESHOLD:
        assert scoring.threshold is not None  # the study's plan has asked for one
        if any(math.isnan(mean) for mean in run.means):
            return math.nan
        reached = statistics.first_reaching(run.steps, run.means, scoring.threshold)
        return PENALTY * scoring.n_timesteps if math.isnan(reached) else reached
    return run.train_seconds


def over_seeds(metric: Metric, scores: Sequence[float]) -> float:
    """One number for several runs that differ in their seed: their mean, or for `iqm` their interquartile mean."""
    return float(statistics.iqm(scores) if metric is Metric.IQM else statistics.mean(scores))


def from_table(table: "pd.DataFrame", train_seconds: float) -> Evaluations:
    """The evaluations of a run folder.

    Args:
        table: of `RunFolder.evaluations`.
        train_seconds: of the run's status.
    """
    groups = table[~table["sampled"]].groupby("num_timesteps")["return"]
    steps = tuple(int(step) for step, _ in groups)
    return Evaluations(steps, tuple(tuple(map(float, episodes)) for _, episodes in groups), train_seconds)
