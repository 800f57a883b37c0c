"""From what a caller or the command line says to a population's complete, checked configuration."""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from pydantic import ValidationError
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from tuning import search_space
from tuning.callback import MAX_REPLAY_BUFFER_BYTES, size_in_bytes
from tuning.config import ENTRY_KEYS, RunConfig, resolve
from tuning.errors import UsageError, did_you_mean
from tuning.population.carrying import structure_of
from tuning.population.config import PopulationConfig, Selection
from tuning.search_space import Dimension, SearchSpace, parse_text
from tuning.search_space.dimensions import Categorical
from tuning.study.objective import default_parameters
from tuning.study.plan import plan_study
from tuning.training import build_model, torch_threads

INTERVALS = 20  # of each member, where no interval is given
_NETWORK = "policy_kwargs"


def plan_population(
    algo: str | None = None,
    env_id: str | None = None,
    *,
    method: str = Selection.PBT.value,
    interval: int | None = None,
    population_size: int = 8,
    space: Mapping[str, Any] | Iterable[str] | None = None,
    space_file: str | os.PathLike[str] | None = None,
    seed: int = 0,
    name: str | None = None,
    truncation: float = 0.2,
    resample: float = 0.25,
    tournament_size: int = 2,
    elitism: bool = True,
    mutation: float = 0.5,
    **settings: Any,
) -> PopulationConfig:
    """Find, merge and check everything that defines a population; nothing is written. See `train_population`.

    Raises:
        UsageError: something does not fit together; one line says what.
    """
    if method not in list(Selection):
        raise UsageError(f"method {method!r} is not known; {did_you_mean(method, [one.value for one in Selection])}")
    space = space if space is None or isinstance(space, str | Mapping) else tuple(space)
    study = plan_study(algo, env_id, space=space, space_file=space_file, seed=seed, sampler="random", **settings)
    base = study.base
    found = search_space.parse(study.search_space)
    with torch_threads(base.threads):
        fixed = _fixed(base, found)
    refused = next((one for one in _named_by_user(space) if one in fixed), None)
    if refused is not None:
        raise UsageError(
            f"{refused} {fixed[refused]}, so it cannot change while a member trains; give one value with "
            "--hyperparams, or search it with --method search"
        )
    defaults = _decoded(found, default_parameters(study).parameters)
    changing = _without(found, fixed, defaults)
    if not changing.dimensions:
        raise UsageError(
            f"nothing of {base.algo} is left to change during training ({', '.join(fixed)} cannot); give dimensions "
            "such as --space learning_rate=log:1e-5:1e-2"
        )
    every = max(1, -(-base.n_timesteps // INTERVALS)) if interval is None else interval
    definition = {
        "name": name or "unnamed",
        # how often a run would be evaluated means nothing here: members are evaluated once an interval
        "base": base.model_copy(update={"eval_freq": max(1, every)}).to_data(),
        "search_space": changing.to_data(),
        "fixed": fixed,
        "selection": method,
        "size": population_size,
        "interval": every,
        "seed": seed,
        "truncation": truncation,
        "resample": resample,
        "tournament_size": tournament_size,
        "elitism": elitism,
        "mutation": mutation,
    }
    try:
        config = PopulationConfig.model_validate(definition)
    except ValidationError as error:
        finding = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in finding["loc"])
        raise UsageError(f"{key} is {finding['input']!r}: {finding['msg'][:1].lower()}{finding['msg'][1:]}") from error
    return config if name is not None else config.named()


def default_point(config: PopulationConfig) -> dict[str, Any]:
    """The configured settings as a point of the population's search space; what has no value there is missing."""
    study = plan_study(config=config.base.to_data(), space=config.search_space, sampler="random")
    space = search_space.parse(config.search_space)
    study = study.model_copy(update={"search_space": config.search_space})
    return _decoded(space, default_parameters(study).parameters)


def _decoded(space: SearchSpace, parameters: Mapping[str, Any]) -> dict[str, Any]:
    names = {dimension.parameter(name): name for name, dimension in space.dimensions.items()}
    return {names[key]: space.dimensions[names[key]].decode(value) for key, value in parameters.items()}


def _named_by_user(space: Mapping[str, Any] | Iterable[str] | None) -> list[str]:
    if isinstance(space, Mapping):
        return [name for name, content in space.items() if content is not None]
    return [name for name, content in map(parse_text, space or ()) if content is not None]


def _fixed(base: RunConfig, space: SearchSpace) -> dict[str, str]:
    """Dimensions in which the members of a population must agree, and why."""
    structure = _structure(base, check=True)
    fixed = {}
    for name, dimension in space.dimensions.items():
        if name.partition(".")[0] == _NETWORK:
            fixed[name] = "shapes the network or its start, and weights are not carried between architectures"
        elif name.partition(".")[0] in ENTRY_KEYS:
            fixed[name] = "belongs to the environments or the run"
        elif any(_differs(base, name, value, structure) for value in _values(dimension)):
            fixed[name] = "changes what is learned or remembered, which could not be carried on"
    return fixed


def _values(dimension: Dimension) -> list[Any]:
    """Every choice of a categorical dimension, the ends of any other."""
    points = dimension.grid(len(dimension.choices) if isinstance(dimension, Categorical) else 2)
    return [dimension.decode(point) for point in points]


def _differs(base: RunConfig, name: str, value: Any, structure: dict[str, Any]) -> bool:
    try:
        return _structure(resolve(config=base.to_data(), hyperparams={name: value})) != structure
    except UsageError:
        return False  # it does not go with the other settings' defaults, which says nothing about weights


def _structure(config: RunConfig, check: bool = False) -> dict[str, Any]:
    with ExitStack() as stack:
        model = build_model(config)
        if (venv := model.get_env()) is not None:
            stack.callback(venv.close)
        buffer = model.replay_buffer if isinstance(model, OffPolicyAlgorithm) else None
        if check and buffer is not None and size_in_bytes(buffer) > MAX_REPLAY_BUFFER_BYTES:
            raise UsageError(
                f"the replay buffer of {config.algo} takes {size_in_bytes(buffer) / 2**20:.0f} MiB, but each member "
                f"writes its own once an interval, at most {MAX_REPLAY_BUFFER_BYTES / 2**20:.0f} MiB; lower it with "
                f"--hyperparams buffer_size:N (N need not be above {config.n_timesteps}, the steps of a member)"
            )
        return structure_of(model)


def _without(space: SearchSpace, fixed: dict[str, str], defaults: Mapping[str, Any]) -> SearchSpace:
    """The space without fixed dimensions; what depends on a fixed one exists always, or never and is fixed, too."""
    kept: dict[str, Dimension] = {}
    for name, dimension in space.dimensions.items():
        if name in fixed:
            continue
        waits = {other: wanted for other, wanted in dimension.when.items() if other in fixed}
        if not space.exists(dimension.model_copy(update={"when": waits}), defaults):
            fixed[name] = f"exists only with another {' and '.join(waits)}"
            continue
        when = {other: wanted for other, wanted in dimension.when.items() if other not in fixed}
        kept[name] = dimension.model_copy(update={"when": when})
    return SearchSpace(kept)
