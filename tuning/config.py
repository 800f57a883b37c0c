"""What a run is to do, as data: the schema, and how a configuration comes about.

`resolve` lays four layers over each other, each overriding the one below: the schema's defaults; `defaults` of
`zoo_configs/<algo>.yml`; that file's entry for the environment; what the caller or the command line gives. The result
is complete and checked (names, types, the environment, its action space) before anything is written.

A configuration file given by `config` takes the zoo's place: either a whole configuration, such as a run folder's
config.yml, or a file laid out like those in `zoo_configs`.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from tuning.errors import UsageError, did_you_mean
from tuning.fields import Count, Positive, Section
from tuning.normalization import MisfitError, Normalize
from tuning.yaml_files import KeyPath, Located, read_yaml

EVALUATIONS_PER_RUN = 20  # where eval_freq is not given


class RunConfig(Section):
    """One run.

    Attributes:
        algo: registry key.
        env: environment id.
        seed: of the training environments, the initial parameters and the actions.
        n_timesteps: environment steps, summed over environments; algorithms that learn from whole rollouts end with
            the one that reaches it.
        n_envs: environments stepped together (for an asynchronous algorithm: by each worker).
        env_kwargs: passed to `gymnasium.make`.
        env_wrapper: wrappers by name, innermost first: `atari`, `{frame_stack: 4}`.
        reward_scale: multiplies the rewards the agent sees; reported returns stay unscaled.
        normalize: of observations, rewards and actions; see `tuning.normalization`.
        policy: a name among the algorithm's `policy_aliases`.
        hyperparams: constructor arguments as data.
        eval_freq: environment steps between evaluations.
        eval_episodes: episodes an evaluation.
        eval_sampled: evaluate with sampled actions as well, for methods whose policy is meant to be stochastic.
        threads: torch threads of the training process; small networks are fastest with one.
        device: `auto`, `cpu`, `cuda`, ...
        import_modules: modules that register environments.
    """

    algo: str
    env: str
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    n_timesteps: Count = 100_000
    n_envs: Count = 1
    env_kwargs: dict[str, Any] = Field(default_factory=dict)
    env_wrapper: list[str | dict[str, Any]] = Field(default_factory=list)
    reward_scale: Positive = 1.0
    normalize: Normalize = Field(default_factory=Normalize)
    policy: str
    hyperparams: dict[str, Any] = Field(default_factory=dict)
    eval_freq: Count
    eval_episodes: Count = 10
    eval_sampled: bool = False
    threads: Count = 1
    device: str = "auto"
    import_modules: list[str] = Field(default_factory=list)

    def to_data(self) -> dict[str, Any]:
        """Plain data, ready to be written as YAML and to be resolved again to an equal configuration."""
        return self.model_dump()


# the keys of a run that stand in an entry of zoo_configs; the others are given when a run is started
ENTRY_KEYS = frozenset(RunConfig.model_fields) - {"algo", "env", "seed"}
# what `actorzoo tune` searches: beside the defaults, and in an entry for its environment alone; no part of a run
SEARCH_SPACE = "search_space"
LAYOUT_KEYS = ("defaults", "environments", SEARCH_SPACE)


def zoo_folder() -> Path:
    """Where zoo_configs lies: inside an installed package, beside the packages of a checkout.

    Raises:
        UsageError: neither is there.
    """
    package = Path(__file__).parent
    for folder in (package / "zoo_configs", package.parent / "zoo_configs"):
        if folder.is_dir():
            return folder
    raise UsageError(f"zoo_configs was not found in {package} or beside it; install actorzoo again")


def zoo_file(algo: str) -> Path | None:
    """`zoo_configs/<algo>.yml`; None for an algorithm without one."""
    path = zoo_folder() / f"{algo}.yml"
    return path if path.is_file() else None


def zoo_environments(algo: str) -> list[str]:
    """Environments with settings of their own for this algorithm, as its file lists them."""
    path = zoo_file(algo)
    return list(read_yaml(path).below("environments").data) if path else []


def resolve(
    algo: str | None = None,
    env_id: str | None = None,
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    **settings: Any,
) -> RunConfig:
    """Find, merge and check a run's configuration; nothing is written.

    Args:
        algo: registry key or class name; may be left out where `config` names it.
        env_id: environment; may be left out where `config` names it.
        config: a configuration file, or its content, instead of the zoo's.
        hyperparams: constructor arguments as data, over those of the configuration. Keys may be dotted
            (`policy_kwargs.net_arch`) and may name a run's other keys, too (`n_envs`, `normalize.reward`).
        **settings: other keys of `RunConfig`; None leaves a key to the layers below.

    Returns:
        A complete configuration.

    Raises:
        UsageError: anything in it is wrong; the message names the file, line and key, and the nearest right one.
        agents.errors.MissingExtraError: the environment needs a package that is not installed.
    """
    from agents import registry
    from tuning import environments, hyperparameters

    layers = _given_configuration(config, env_id).under(_given_layer({"algo": algo, "env": env_id, **settings}))
    try:
        spec = registry.get(_text(layers, "algo", "--algo"))
    except ValueError as error:
        raise UsageError(f"{_prefix(layers.place(('algo',)))}{error}") from error
    env_id = _text(layers, "env", "--env")
    if config is None:
        layers = _zoo_entry(spec.key, env_id).under(layers)
    names = hyperparameters.argument_names(spec.cls)
    layers = layers.under(_hyperparameter_layer(hyperparams or {}, names))
    filled = {**layers.data, "algo": spec.key}
    filled["hyperparams"] = dict(layers.below("hyperparams").data)
    if spec.asynchronous and "n_workers" in names:
        # written down, because a run must not become another one on another machine
        filled["hyperparams"].setdefault("n_workers", available_cores())
    unfinished = _validated({"policy": spec.default_policy, "eval_freq": 1} | filled, layers)
    _check_by_use(unfinished, layers)
    try:
        observation_space, action_space = environments.spaces_of(unfinished)
    except MisfitError as error:
        raise UsageError(f"{_prefix(layers.place(error.path))}{error}") from error
    if type(action_space).__name__ not in spec.action_spaces:
        raise UsageError(
            f"{env_id} has {type(action_space).__name__} actions, but {spec.cls.__name__} takes "
            f"{' and '.join(spec.action_spaces)} only; these take them: {', '.join(_takers(action_space))}"
        )
    filled["policy"] = filled.get("policy") or environments.default_policy(spec, observation_space)
    filled["eval_freq"] = filled.get("eval_freq") or max(1, unfinished.n_timesteps // EVALUATIONS_PER_RUN)
    complete = _validated(filled, layers)
    _check_policy(complete, spec.cls, layers)
    hyperparameters.constructor_arguments(
        spec.cls,
        complete.policy,
        complete.hyperparams,
        action_space,
        place=lambda path: layers.place(("hyperparams", *path)),
    )
    return complete


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _given_configuration(config: str | os.PathLike[str] | Mapping[str, Any] | None, env_id: str | None) -> Located:
    if config is None:
        return Located()
    if isinstance(config, Mapping):
        return _entry_of(Located.written_at("the given configuration", config), env_id)
    return _entry_of(read_yaml(Path(config)), env_id)


def _zoo_entry(algo: str, env_id: str) -> Located:
    path = zoo_file(algo)
    return _entry_of(read_yaml(path), env_id) if path else Located()


def _entry_of(tree: Located, env_id: str | None) -> Located:
    """A whole configuration as it is; of a file laid out like the zoo's, the defaults with the environment's entry."""
    if not {"defaults", "environments"} & set(tree.data):
        return tree
    _check_zoo_layout(tree)
    entry = tree.below("defaults").under(tree.below("environments", env_id) if env_id else Located())
    return Located({key: value for key, value in entry.data.items() if key != SEARCH_SPACE}, entry.places)


def _check_zoo_layout(tree: Located) -> None:
    for key in tree.data:
        if key not in LAYOUT_KEYS:
            raise UsageError(
                f"{tree.place((key,))}: {key!r} is no part of such a file; {did_you_mean(str(key), LAYOUT_KEYS)}"
            )
    for entry in (
        tree.below("defaults"),
        *(tree.below("environments", env) for env in tree.below("environments").data),
    ):
        for key in entry.data:
            if key not in ENTRY_KEYS | {SEARCH_SPACE}:
                raise UsageError(
                    f"{entry.place((key,))}: {key!r} is no key of an entry; {did_you_mean(str(key), ENTRY_KEYS)} "
                    "(hyperparameters stand below hyperparams)"
                )


def _given_layer(settings: Mapping[str, Any]) -> Located:
    layer = {key: value for key, value in settings.items() if value is not None}
    for key in layer:
        if key not in RunConfig.model_fields:
            raise UsageError(f"{key!r} is no setting of a run; {did_you_mean(key, RunConfig.model_fields)}")
    options = {"algo": "--algo", "env": "--env", "import_modules": "--import-module"}
    return Located(layer, {(key,): options.get(key, f"--{key.replace('_', '-')}") for key in layer})


def _hyperparameter_layer(hyperparams: Mapping[str, Any], names: Iterable[str]) -> Located:
    """Dotted keys as nested mappings; keys of a run that are no constructor arguments go to the run."""
    layer = Located()
    for dotted, value in hyperparams.items():
        path = tuple(dotted.split("."))
        if path[0] not in ENTRY_KEYS - set(names):
            path = ("hyperparams", *path)
        nested: Any = _plain(value)
        for key in reversed(path):
            nested = {key: nested}
        layer = layer.under(
            Located(nested, {path[:depth]: f"--hyperparams {dotted}" for depth in range(1, len(path) + 1)})
        )
    return layer


def _text(layers: Located, key: str, option: str) -> str:
    value = layers.data.get(key)
    if not isinstance(value, str):
        given = f"{layers.place((key,))}: {key} is {value!r}, but it" if key in layers.data else f"{key} is missing; it"
        raise UsageError(f"{given} must be a name; give {option}, or a configuration that has the key {key}")
    return value


def _validated(data: Mapping[str, Any], layers: Located) -> RunConfig:
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        raise UsageError(_first_complaint(error, layers)) from error
    _check_plain(config.hyperparams, ("hyperparams",), layers)
    _check_plain(config.env_kwargs, ("env_kwargs",), layers)
    _check_plain(config.normalize.observation, ("normalize", "observation"), layers)
    return config


def _first_complaint(error: ValidationError, layers: Located) -> str:
    """Pydantic's first finding as one line: place, key, what is wrong, what to do."""
    finding = error.errors(include_url=False)[0]
    path = tuple(str(part) for part in finding["loc"])
    place = _prefix(layers.place(path))
    key = ".".join(path)
    if finding["type"] == "extra_forbidden":
        section = Normalize if path[0] == "normalize" and len(path) > 1 else RunConfig
        problem = f"there is no key {key!r}; {did_you_mean(path[-1], section.model_fields)}"
        if section is RunConfig:
            problem += " (hyperparameters stand below hyperparams)"
    elif finding["type"] == "missing":
        problem = f"the key {key} is missing"
    else:
        problem = f"{key} is {finding['input']!r}, but {_lower_first(finding['msg'].removeprefix('Value error, '))}"
    return place + problem


def _prefix(place: str) -> str:
    return f"{place}: " if place else ""


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _plain(value: Any) -> Any:
    """Tuples as lists and NumPy's numbers as Python's, which YAML can hold."""
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _check_plain(value: Any, path: KeyPath, layers: Located) -> None:
    """A configuration is written to a file, so objects (a class, a function) cannot be part of it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_plain(inner, (*path, str(key)), layers)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_plain(inner, (*path, str(index)), layers)
    elif value is not None and type(value) not in (str, int, float, bool):
        raise UsageError(
            f"{'.'.join(path)} is {value!r}, but a configuration holds numbers, texts, lists and mappings only; write "
            "classes and schedules as data, for example activation_fn: relu"
        )


def _check_by_use(config: RunConfig, layers: Located) -> None:
    """Values whose rules live elsewhere: torch's devices, the table of wrappers."""
    import torch

    from tuning import environments

    try:
        torch.device("cpu" if config.device == "auto" else config.device)
    except RuntimeError as error:
        raise UsageError(
            f"{_prefix(layers.place(('device',)))}device is {config.device!r}, which torch does not know; "
            "write auto, cpu, cuda or cuda:1"
        ) from error
    for entry in config.env_wrapper:
        try:
            environments.wrapper_call(entry)
        except UsageError as error:
            raise UsageError(f"{_prefix(layers.place(('env_wrapper',)))}{error}") from error


def _check_policy(config: RunConfig, cls: Any, layers: Located) -> None:
    if config.policy not in cls.policy_aliases:
        raise UsageError(
            f"{_prefix(layers.place(('policy',)))}{cls.__name__} has no policy {config.policy!r}; "
            f"{did_you_mean(config.policy, cls.policy_aliases)}"
        )


def _takers(action_space: Any) -> list[str]:
    from agents import registry

    return [spec.key for spec in registry.specs() if type(action_space).__name__ in spec.action_spaces]
