"""From what a caller or the command line says to a study's complete, checked configuration."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
from pydantic import ValidationError

from tuning import search_space
from tuning.config import RunConfig, resolve
from tuning.errors import UsageError, did_you_mean
from tuning.search_space import SearchSpace
from tuning.study.config import Metric, StudyConfig, default_name
from tuning.study.pruners import NONE, make_pruner
from tuning.study.samplers import make_sampler

DEFAULT_TRIALS = 50
DEFAULT_EVALUATIONS = 20
DEFAULT_RACE_TOP = 3
DEFAULT_RACE_SEEDS = 5
DEFAULT_TEST_SEEDS = 5


def plan_study(
    algo: str | None = None,
    env_id: str | None = None,
    *,
    hyperparams: Mapping[str, Any] | None = None,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    space: Mapping[str, Any] | Iterable[str] | None = None,
    space_file: str | os.PathLike[str] | None = None,
    n_timesteps: int | None = None,
    n_evaluations: int | None = None,
    seed: int = 0,
    seeds_per_trial: int = 1,
    objective: str | Sequence[str] = Metric.LAST_MEAN.value,
    last_evaluations: int = 3,
    threshold: float | None = None,
    sampler: str = "tpe",
    sampler_options: Mapping[str, Any] | None = None,
    pruner: str | None = None,
    pruner_options: Mapping[str, Any] | None = None,
    trials: int | None = None,
    hours: float | None = None,
    total_steps: int | None = None,
    patience: int | None = None,
    max_train_seconds: float | None = None,
    enqueue_default: bool = True,
    race_top: int = DEFAULT_RACE_TOP,
    race_seeds: int = DEFAULT_RACE_SEEDS,
    test_seeds: int = DEFAULT_TEST_SEEDS,
    storage: str | os.PathLike[str] | None = None,
    study_name: str | None = None,
    **settings: Any,
) -> StudyConfig:
    """Find, merge and check everything that defines a study; nothing is written.

    Args:
        algo: registry key or class name; may be left out where `config` names it.
        env_id: environment; may be left out where `config` names it.
        hyperparams: as data, over those of the configuration; the default that trials start from and are compared with.
        config: a configuration file, or its content, in place of the zoo's.
        space: dimensions over those of the zoo's search space: as data by hyperparameter, or as texts like
            `learning_rate=log:1e-5:1e-2`; None for a dimension leaves it out.
        space_file: a file of dimensions, between the zoo's and `space`.
        n_timesteps: environment steps of every training run; the configuration's by default.
        n_evaluations: evaluations of every run, evenly spaced, the last one at its end; 20 by default.
        seed: of everything random in the study.
        seeds_per_trial: training runs a trial.
        objective: a metric of `tuning.study.config.Metric`, or several.
        last_evaluations: see `StudyConfig`.
        threshold: for `steps_to_threshold`; the environment's own reward threshold by default.
        sampler: tpe, gp, cmaes, random, grid, qmc, nsgaii, or an import path.
        sampler_options: arguments of its constructor; of the grid: points.
        pruner: median, hyperband, successive_halving, percentile, wilcoxon, none, or an import path; median by default,
            none for several objectives.
        pruner_options: arguments of its constructor.
        trials: after which the search ends; 50 where no other limit is given.
        hours: of search.
        total_steps: environment steps of all trials.
        patience: trials without an improvement.
        max_train_seconds: a run's, beyond which a trial is infeasible.
        enqueue_default: begin with the default.
        race_top, race_seeds, test_seeds: see `StudyConfig`.
        storage: database URL or journal file; by default a journal in the study's folder.
        study_name: derived from the settings by default, so that the same call continues the same study.
        **settings: other keys of `tuning.config.RunConfig`, such as eval_episodes, n_envs, device, import_modules.

    Raises:
        UsageError: something does not fit together; one line says what.
    """
    base = resolve(algo, env_id, config=config, hyperparams=hyperparams, n_timesteps=n_timesteps, **settings)
    base = _with_evaluations(base, n_evaluations, settings.get("eval_freq"))
    found = _space(base, config, space_file, space)
    _check_space(base, found)
    metrics = _metrics([objective] if isinstance(objective, str) else objective)
    budget = {"trials": trials, "hours": hours, "total_steps": total_steps, "patience": patience}
    if all(limit is None for limit in budget.values()):
        budget["trials"] = DEFAULT_TRIALS
    searchable = metrics != [Metric.TRAIN_SECONDS] and len(metrics) == 1
    definition = {
        "name": study_name or "unnamed",
        "base": base.model_copy(update={"seed": 0}).to_data(),
        "search_space": found.to_data(),
        "seed": seed,
        "seeds_per_trial": seeds_per_trial,
        "objectives": [metric.value for metric in metrics],
        "last_evaluations": last_evaluations,
        "threshold": _threshold(metrics, threshold, base),
        "sampler": {"name": sampler, "options": dict(sampler_options or {})},
        "pruner": {"name": pruner or ("median" if searchable else NONE), "options": dict(pruner_options or {})},
        "budget": budget,
        "max_train_seconds": max_train_seconds,
        "enqueue_default": enqueue_default,
        "race_top": race_top,
        "race_seeds": race_seeds,
        "test_seeds": test_seeds,
        "storage": None if storage is None else os.fspath(storage),
    }
    study = _validated(definition)
    if study_name is None:
        name = default_name(base.algo, base.env, study.to_data())
        study = study.model_copy(update={"name": name})
    make_sampler(study)
    make_pruner(study)
    return study


def _with_evaluations(base: RunConfig, n_evaluations: int | None, eval_freq: int | None) -> RunConfig:
    if n_evaluations is not None and eval_freq is not None:
        raise UsageError(
            f"eval_freq {eval_freq} and n_evaluations {n_evaluations} say the same twice; keep one of them"
        )
    if eval_freq is not None:
        return base
    if n_evaluations is not None and n_evaluations < 1:
        raise UsageError(f"n_evaluations is {n_evaluations}, but a run is evaluated at least once, at its end")
    freq = max(1, -(-base.n_timesteps // (n_evaluations or DEFAULT_EVALUATIONS)))
    return base.model_copy(update={"eval_freq": freq})


def _space(
    base: RunConfig,
    config: str | os.PathLike[str] | Mapping[str, Any] | None,
    file: str | os.PathLike[str] | None,
    space: Mapping[str, Any] | Iterable[str] | None,
) -> SearchSpace:
    if isinstance(space, str):
        raise UsageError(f"space is the text {space!r}; give a list of such texts, or a mapping")
    given, texts = (space, ()) if isinstance(space, Mapping) else (None, tuple(space or ()))
    path = None if config is None or isinstance(config, Mapping) else config
    return search_space.find(base.algo, base.env, config=path, file=file, given=given, texts=texts)


def _check_space(base: RunConfig, space: SearchSpace) -> None:
    """Names and types of all dimensions, before a trial could fail by them."""
    for name in ("seed", "n_timesteps", "eval_freq", "eval_episodes", "algo", "env"):
        if name in space.dimensions:
            raise UsageError(f"{name} cannot be searched: trials that differ in it could not be compared")
    for corner in space.corners():
        try:
            resolve(config=base.to_data(), hyperparams=corner)
        except UsageError as error:
            message = str(error).replace("--hyperparams", "search space,")
            raise UsageError(f"{message}; see --space and --space-file") from error


def _metrics(names: Iterable[str]) -> list[Metric]:
    metrics = []
    for name in names:
        if name not in list(Metric):
            raise UsageError(f"--objective {name!r} is not known; {did_you_mean(name, [m.value for m in Metric])}")
        metrics.append(Metric(name))
    if not metrics or len(set(metrics)) < len(metrics):
        raise UsageError(f"objectives are {[m.value for m in metrics]}, but they must be different ones, at least one")
    return metrics


def _threshold(metrics: Sequence[Metric], threshold: float | None, base: RunConfig) -> float | None:
    if Metric.STEPS_TO_THRESHOLD not in metrics or threshold is not None:
        return None if threshold is None else float(threshold)
    registered = gym.spec(base.env).reward_threshold
    if registered is None:
        raise UsageError(
            f"steps_to_threshold: {base.env} has no reward threshold of its own; give one with --threshold"
        )
    return float(registered)


def _validated(definition: Mapping[str, Any]) -> StudyConfig:
    try:
        return StudyConfig.model_validate(definition)
    except ValidationError as error:
        finding = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in finding["loc"])
        problem = finding["msg"].removeprefix("Value error, ")
        raise UsageError(f"{key} is {finding['input']!r}: {problem[:1].lower()}{problem[1:]}") from error
