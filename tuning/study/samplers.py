"""Samplers by name or import path, seeded from the study's seed and the worker's number."""

import inspect
from collections.abc import Callable
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from tuning import search_space
from tuning.errors import UsageError
from tuning.search_space import SearchSpace
from tuning.study.components import construct, import_class, is_import_path, known_name
from tuning.study.config import StudyConfig
from tuning.study.seeds import sampler_seed

GRID_POINTS = 4  # of a number's range


def make_sampler(config: StudyConfig, worker_index: int = 0, n_trials: int = 0) -> BaseSampler:
    """The sampler of one worker.

    Args:
        config: the study.
        worker_index: workers draw from streams of their own, or all of them would try the same.
        n_trials: trials that the study has already. A study that is continued must not draw once more what it drew
            when it began.

    Raises:
        UsageError: no such sampler, arguments that it refuses, or one that does not fit the study.
    """
    space = search_space.parse(config.search_space)
    name, options = config.sampler.name, dict(config.sampler.options)
    own_seed = sampler_seed(config.seed, worker_index, n_trials)
    if is_import_path(name):
        cls = import_class(name, BaseSampler, "--sampler")
        if "seed" in inspect.signature(cls).parameters:
            options.setdefault("seed", own_seed)
        return construct(cls, options, "--sampler", name)
    known_name(name, SAMPLERS, "--sampler")
    if len(config.objectives) > 1 and name not in SEVERAL_OBJECTIVES:
        raise UsageError(
            f"--sampler {name} takes one objective, but there are {len(config.objectives)}; "
            f"these take several: {', '.join(SEVERAL_OBJECTIVES)}"
        )
    # what all workers share: the order of the grid's points, the scrambling of the sequence
    seed = sampler_seed(config.seed) if name in ("grid", "qmc") else own_seed
    return SAMPLERS[name](space, {"seed": seed} | options, name)


def _tpe(space: SearchSpace, options: dict[str, Any], name: str) -> BaseSampler:
    # set explicitly: Optuna's own default depends on the number of objectives; groups are for parameters that exist
    # only in some trials, which a single multivariate model would leave out
    defaults: dict[str, Any] = {"multivariate": True, "group": space.is_conditional}
    return construct(optuna.samplers.TPESampler, defaults | options, "--sampler", name)


def _gp(space: SearchSpace, options: dict[str, Any], name: str) -> BaseSampler:
    defaults = {"warn_independent_sampling": False}
    return construct(optuna.samplers.GPSampler, defaults | options, "--sampler", name)


def _cmaes(space: SearchSpace, options: dict[str, Any], name: str) -> BaseSampler:
    defaults = {"warn_independent_sampling": False}
    return construct(optuna.samplers.CmaEsSampler, defaults | options, "--sampler", name)


def _random(space: SearchSpace, options: dict[str, Any], name: str) -> BaseSampler:
    return construct(optuna.samplers.RandomSampler, options, "--sampler", name)


def _grid(space: SearchSpace, options: dict[str, Any], name: str) -> BaseSampler:
    points = options.pop("points", GRID_POINTS)
    if not isinstance(points, int) or points < 1:
        raise UsageError(f"--sampler grid got points {points!r}, but it takes a whole number of at least 1")
    return construct(optuna.samplers.GridSampler, {"search_space": space.grid(points)} | options, "--sampler", name)


def _qmc(space: SearchSpace, options: dict[str, Any], name: str) -> BaseSampler:
    defaults = {"scramble": True, "warn_independent_sampling": False}
    return construct(optuna.samplers.QMCSampler, defaults | options, "--sampler", name)


def _nsgaii(space: SearchSpace, options: dict[str, Any], name: str) -> BaseSampler:
    return construct(optuna.samplers.NSGAIISampler, options, "--sampler", name)


SAMPLERS: dict[str, Callable[[SearchSpace, dict[str, Any], str], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "random": _random,
    "grid": _grid,
    "qmc": _qmc,
    "nsgaii": _nsgaii,
}
SEVERAL_OBJECTIVES = ("tpe", "gp", "random", "grid", "qmc", "nsgaii")
