"""Pruners by name or import path, with defaults in environment steps of the study's own runs.

What a trial reports is the mean return of an evaluation at the step at which it was due, the second seed's after the
first one's (step + n_timesteps), negative where the study minimizes: trials use the same seeds, so equal steps can be
compared. With the Wilcoxon pruner it reports once a seed, the seed's own score at the seed's number.
"""

import math
from collections.abc import Callable
from typing import Any

import optuna
from optuna.pruners import BasePruner

from tuning.errors import UsageError
from tuning.study.components import construct, import_class, is_import_path, known_name
from tuning.study.config import Metric, StudyConfig

NONE = "none"
WILCOXON = "wilcoxon"
_P_THRESHOLD = 0.1


def make_pruner(config: StudyConfig) -> BasePruner:
    """The study's pruner.

    Raises:
        UsageError: no such pruner, arguments that it refuses, or one that does not fit the study.
    """
    name, options = config.pruner.name, dict(config.pruner.options)
    if name != NONE and len(config.objectives) > 1:
        raise UsageError(
            f"--pruner {name} needs one objective, but there are {len(config.objectives)}: Optuna has no intermediate "
            "values for several; choose --pruner none"
        )
    if name != NONE and config.objectives == [Metric.TRAIN_SECONDS]:
        raise UsageError(f"--pruner {name} compares returns, but the objective is train_seconds; choose --pruner none")
    if is_import_path(name):
        return construct(import_class(name, BasePruner, "--pruner"), options, "--pruner", name)
    known_name(name, PRUNERS, "--pruner")
    return PRUNERS[name](config, options)


def prunes_by_seed(config: StudyConfig) -> bool:
    """Whether trials report once a seed instead of once an evaluation."""
    return config.pruner.name.rpartition(":")[2].rpartition(".")[2].lower().removesuffix("pruner") == WILCOXON


def _none(config: StudyConfig, options: dict[str, Any]) -> BasePruner:
    return construct(optuna.pruners.NopPruner, options, "--pruner", NONE)


def _median(config: StudyConfig, options: dict[str, Any]) -> BasePruner:
    # learning begins slowly: nothing is pruned in the first quarter of the first run
    defaults = {"n_startup_trials": 5, "n_warmup_steps": config.base.n_timesteps // 4}
    return construct(optuna.pruners.MedianPruner, defaults | options, "--pruner", "median")


def _percentile(config: StudyConfig, options: dict[str, Any]) -> BasePruner:
    defaults = {"percentile": 25.0, "n_startup_trials": 5, "n_warmup_steps": config.base.n_timesteps // 4}
    return construct(optuna.pruners.PercentilePruner, defaults | options, "--pruner", "percentile")


def _halving(config: StudyConfig, options: dict[str, Any]) -> BasePruner:
    defaults = {"min_resource": config.base.eval_freq}
    return construct(optuna.pruners.SuccessiveHalvingPruner, defaults | options, "--pruner", "successive_halving")


def _hyperband(config: StudyConfig, options: dict[str, Any]) -> BasePruner:
    longest = config.base.n_timesteps * config.seeds_per_trial
    defaults = {"min_resource": min(config.base.eval_freq, longest), "max_resource": longest}
    return construct(optuna.pruners.HyperbandPruner, defaults | options, "--pruner", "hyperband")


def _wilcoxon(config: StudyConfig, options: dict[str, Any]) -> BasePruner:
    threshold = options.get("p_threshold", _P_THRESHOLD)
    pruner = construct(optuna.pruners.WilcoxonPruner, {"p_threshold": threshold} | options, "--pruner", WILCOXON)
    # the smallest p of n pairs is 2 ** -n, and pruning after the last seed would save nothing
    needed = math.floor(math.log2(1.0 / threshold)) + 2 if threshold > 0 else math.inf
    if config.seeds_per_trial < needed:
        raise UsageError(
            f"--pruner wilcoxon with p_threshold {threshold} cannot prune before {needed - 1} seeds, so it needs at "
            f"least {needed} seeds a trial, but there are {config.seeds_per_trial}; give --seeds-per-trial {needed} or "
            "another pruner"
        )
    if config.objectives == [Metric.IQM]:
        raise UsageError(
            "--pruner wilcoxon compares means over seeds, but the objective iqm is none; choose last_mean or another "
            "pruner"
        )
    return pruner


PRUNERS: dict[str, Callable[[StudyConfig, dict[str, Any]], BasePruner]] = {
    "median": _median,
    "hyperband": _hyperband,
    "successive_halving": _halving,
    "percentile": _percentile,
    WILCOXON: _wilcoxon,
    NONE: _none,
}
