"""Statistics of training runs: pure functions of arrays, seeded, no file and no environment.

Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021: with a handful of runs, report the interquartile mean with a stratified bootstrap interval
and the probability of improvement. The unit of replication is the training run: a score is one number a run.

NaN in, NaN out: a score that is not a number is never trimmed or dropped silently. No scores give NaN, too.
"""

from tuning.statistics.bootstrap import Interval, band, interval, stratified_interval
from tuning.statistics.curves import area_under_curve, censored_median, common_grid, first_reaching, interpolate
from tuning.statistics.improvement import (
    average_probability_of_improvement,
    improvement_interval,
    probability_of_improvement,
)
from tuning.statistics.point import iqm, mean, median, optimality_gap, pool, std
from tuning.statistics.prediction import prediction_interval

__all__ = [
    "Interval",
    "area_under_curve",
    "average_probability_of_improvement",
    "band",
    "censored_median",
    "common_grid",
    "first_reaching",
    "improvement_interval",
    "interpolate",
    "interval",
    "iqm",
    "mean",
    "median",
    "optimality_gap",
    "pool",
    "prediction_interval",
    "probability_of_improvement",
    "std",
    "stratified_interval",
]
