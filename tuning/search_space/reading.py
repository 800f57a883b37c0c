"""Search spaces from data, with the place of every mistake; from the command line; and from the zoo.

As data, in a file's section `search_space` or a file of its own:

    learning_rate: {type: log, low: 1.0e-5, high: 1.0e-2}
    policy_kwargs.net_arch: {type: net_arch, choices: [small, medium]}
    sde_sample_freq: {type: power_of_two, low: 1, high: 64, when: {use_sde: true}}
    n_steps: null          # leaves out what a lower layer has

On the command line: `learning_rate=log:1e-5:1e-2`, `policy_kwargs.net_arch=net_arch:small,medium`, `n_steps=null`, or
the data itself: `sde_sample_freq={type: int, low: 1, high: 64, when: {use_sde: true}}`.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tuning.config import SEARCH_SPACE, zoo_file
from tuning.errors import UsageError, did_you_mean
from tuning.search_space.dimensions import TYPES, AnyDimension, Categorical, Dimension
from tuning.search_space.space import SearchSpace
from tuning.yaml_files import Located, parse_value, read_yaml

COMMON_FILE = Path(__file__).with_name("common.yml")

_ADAPTER: TypeAdapter[Dimension] = TypeAdapter(AnyDimension)
_TEXT_FORMS = {
    "float": "float:LOW:HIGH or float:LOW:HIGH:STEP",
    "log": "log:LOW:HIGH",
    "int": "int:LOW:HIGH or int:LOW:HIGH:STEP",
    "log_int": "log_int:LOW:HIGH",
    "power_of_two": "power_of_two:LOW:HIGH",
    "one_minus": "one_minus:LOW:HIGH",
    "categorical": "categorical:A,B,...",
    "net_arch": "net_arch:small,medium,...",
}


def parse(data: Mapping[str, Any] | Located, place: str = "the search space") -> SearchSpace:
    """Read a search space.

    Args:
        data: dimensions as data by hyperparameter; None leaves one out.
        place: where the data comes from, for messages.

    Raises:
        UsageError: something in it is wrong; with file and line where `data` knows them.
    """
    tree = data if isinstance(data, Located) else Located.written_at(place, data)
    dimensions = {
        str(name): _dimension(tree, str(name), content) for name, content in tree.data.items() if content is not None
    }
    try:
        return SearchSpace(dimensions)
    except UsageError as error:
        name = next((name for name in dimensions if str(error).startswith(f"{name} ")), "")
        where = tree.place((name,) if name else ())
        raise UsageError(f"{where}: {error}" if where else str(error)) from error


def find(
    algo: str,
    env_id: str,
    *,
    config: str | os.PathLike[str] | None = None,
    file: str | os.PathLike[str] | None = None,
    given: Mapping[str, Any] | None = None,
    texts: Iterable[str] = (),
) -> SearchSpace:
    """The search space of an algorithm in an environment, each layer overriding the one below, dimension by dimension.

    The layers: `search_space` of `zoo_configs/<algo>.yml` (or of `config`, where it is a file laid out like the zoo's),
    that section of the file's entry for the environment; `file`; `given`; `texts`. An algorithm without such a file has
    those dimensions of `common.yml` that its constructor takes.

    Args:
        algo: registry key.
        env_id: environment.
        config: a file in the zoo's place.
        file: a file of dimensions, or one with a section `search_space`.
        given: dimensions as data.
        texts: dimensions as on the command line.

    Raises:
        UsageError: something in it is wrong, or nothing is to be searched.
    """
    tree = _zoo_layer(algo, env_id, config)
    for layer in (_file_layer(file), Located.written_at("the given search space", given or {}), _text_layer(texts)):
        tree = _over(tree, layer)
    space = parse(tree)
    if not space.dimensions:
        raise UsageError(
            f"nothing is to be searched for {algo}; give dimensions such as --space learning_rate=log:1e-5:1e-2"
        )
    return space


def parse_text(text: str) -> tuple[str, dict[str, Any] | None]:
    """`learning_rate=log:1e-5:1e-2` -> ("learning_rate", {"type": "log", "low": 1e-5, "high": 1e-2}).

    Raises:
        UsageError: it has another form; the message shows the right one.
    """
    name, equals, form = (part.strip() for part in text.partition("="))
    if not equals or not name or not form:
        raise UsageError(f"--space got {text!r}, but it takes NAME=TYPE:..., such as learning_rate=log:1e-5:1e-2")
    if form in ("null", "none"):
        return name, None
    if form.startswith("{"):
        data = parse_value(form)
        if not isinstance(data, dict):
            raise UsageError(f"--space {text}: {form} is no mapping; write {{type: log, low: 1e-5, high: 1e-2}}")
        return name, data
    kind, _, rest = form.partition(":")
    if kind not in TYPES:
        raise UsageError(f"--space {text}: there is no type {kind!r}; {did_you_mean(kind, TYPES)}")
    if issubclass(TYPES[kind], Categorical):
        choices = parse_value(f"[{rest}]")
        return name, {"type": kind, "choices": choices}
    bounds = [parse_value(part) for part in rest.split(":")]
    keys = ["low", "high", "step"][: len(bounds)]
    if not 2 <= len(bounds) <= (3 if "step" in TYPES[kind].model_fields else 2):
        raise UsageError(f"--space {text}: {kind} is written {_TEXT_FORMS[kind]}")
    return name, {"type": kind} | dict(zip(keys, bounds, strict=True))


def _dimension(tree: Located, name: str, content: Any) -> Dimension:
    where = _prefix(tree.place((name,)))
    if not isinstance(content, dict) or "type" not in content:
        hint = "write a name inside a mapping with a dot, such as policy_kwargs.net_arch" if content else ""
        raise UsageError(
            f"{where}{name} is {content!r}, but a dimension is a mapping with a type, such as "
            f"{{type: log, low: 1.0e-5, high: 1.0e-2}}{'; ' if hint else ''}{hint}"
        )
    kind = content["type"]
    if kind not in TYPES:
        raise UsageError(
            f"{_prefix(tree.place((name, 'type')))}{name} has the type {kind!r}; {did_you_mean(str(kind), TYPES)}"
        )
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        # a misspelt key is also a missing one; the former says more
        findings = sorted(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
        finding = findings[0]
        path = [str(part) for part in finding["loc"][1:]]  # the first is the type
        problem = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "extra_forbidden":
            problem = f"{did_you_mean(path[-1], TYPES[kind].model_fields)} (type {kind})"
            raise UsageError(
                f"{_prefix(tree.place((name, *path)))}{name} has no key {path[-1]!r}; {problem}"
            ) from error
        if finding["type"] == "missing":
            raise UsageError(f"{where}{name} lacks the key {path[-1]}, which the type {kind} needs") from error
        key = ".".join([name, *path])
        given = f" is {finding['input']!r}" if path else ""
        raise UsageError(f"{_prefix(tree.place((name, *path)))}{key}{given}: {problem}") from error


def _zoo_layer(algo: str, env_id: str, config: str | os.PathLike[str] | None) -> Located:
    path = zoo_file(algo)
    if config is not None:
        tree = read_yaml(Path(config))
        if {"defaults", "environments"} & set(tree.data):
            return _of_layout(tree, env_id)
    if path is not None and (found := _of_layout(read_yaml(path), env_id)).data:
        return found
    return _common(algo)


def _of_layout(tree: Located, env_id: str) -> Located:
    own = tree.below("environments", env_id, SEARCH_SPACE) if env_id in tree.below("environments").data else Located()
    return _over(tree.below(SEARCH_SPACE), own)


def _common(algo: str) -> Located:
    """What `common.yml` knows of the constructor's arguments."""
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    from agents import registry
    from tuning.hyperparameters import argument_names

    cls = registry.get(algo).cls
    names = argument_names(cls)
    tree = read_yaml(COMMON_FILE).below("off_policy" if issubclass(cls, OffPolicyAlgorithm) else "on_policy")
    return Located({name: content for name, content in tree.data.items() if name in names}, tree.places)


def _file_layer(file: str | os.PathLike[str] | None) -> Located:
    if file is None:
        return Located()
    tree = read_yaml(Path(file))
    return tree.below(SEARCH_SPACE) if SEARCH_SPACE in tree.data else tree


def _text_layer(texts: Iterable[str]) -> Located:
    layer = Located()
    for text in texts:
        name, content = parse_text(text)
        if name in layer.data:
            raise UsageError(f"--space got {name} twice; keep one of them")
        layer = _over(layer, Located({name: content}, {(name,): f"--space {text}"}))
    return layer


def _over(below: Located, above: Located) -> Located:
    """Whole dimensions replace whole dimensions: half of one and half of another would be a third."""
    places = {path: place for path, place in below.places.items() if path[:1] not in {(key,) for key in above.data}}
    return Located({**below.data, **above.data}, {**places, **above.places})


def _prefix(place: str) -> str:
    return f"{place}: " if place else ""
