"""The space a study searches: dimensions by hyperparameter, in an order in which conditions can be decided."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import optuna

from tuning.errors import UsageError, did_you_mean
from tuning.search_space.dimensions import Dimension, Float, Int, Log, LogInt, OneMinus, PowerOfTwo


class Encoded(NamedTuple):
    """A configuration as a point of the space.

    Attributes:
        parameters: what `study.enqueue_trial` takes; what is missing is left to the sampler.
        moved: for hyperparameters that the space does not contain as they are: their value, and the nearest one inside
            (None where the sampler chooses).
    """

    parameters: dict[str, Any]
    moved: dict[str, tuple[Any, Any]]


class SearchSpace:
    """Dimensions by hyperparameter.

    Args:
        dimensions: by the hyperparameter's name as `tuning.config.resolve` takes it: dotted inside a mapping
            (`policy_kwargs.net_arch`), or a run's own key (`n_envs`).

    Raises:
        UsageError: a condition names no dimension of the space, a value that it cannot have, or waits for itself.
    """

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        for name, dimension in dimensions.items():
            _check_conditions(name, dimension, dimensions)
        self.dimensions = _in_order(dimensions)

    @property
    def is_conditional(self) -> bool:
        """Whether some dimensions exist only sometimes."""
        return any(dimension.when for dimension in self.dimensions.values())

    def to_data(self) -> dict[str, Any]:
        """Plain data that `tuning.search_space.parse` reads again to an equal space."""
        return {
            name: dimension.model_dump(exclude_defaults=True) | {"type": dimension.model_dump()["type"]}
            for name, dimension in self.dimensions.items()
        }

    def sample(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """Ask the trial for every dimension that exists in it.

        Returns:
            Hyperparameters as data, with dotted keys: what `tuning.config.resolve(hyperparams=...)` takes.
        """
        values: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if self.exists(dimension, values):
                values[name] = dimension.decode(_suggest(trial, dimension.parameter(name), dimension.distribution()))
        return values

    def encode(self, hyperparams: Mapping[str, Any]) -> Encoded:
        """The point of the space that is nearest to a configuration, as parameters of the study.

        Args:
            hyperparams: as data, by dotted name. What is missing has the dimension's `default`.
        """
        parameters: dict[str, Any] = {}
        moved: dict[str, tuple[Any, Any]] = {}
        values: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if not self.exists(dimension, values):
                continue
            value = hyperparams.get(name, dimension.default)
            parameter = dimension.encode(value)
            if parameter is None and not _none_is_meant(dimension, value):
                if value is not None:
                    moved[name] = value, None
                continue
            parameters[dimension.parameter(name)] = parameter
            values[name] = dimension.decode(parameter)
            if not _is_near(values[name], value, dimension):
                moved[name] = value, values[name]
        return Encoded(parameters, moved)

    def grid(self, points: int) -> dict[str, list[Any]]:
        """Values by study parameter: of each dimension at most so many, of categorical ones all.

        Raises:
            UsageError: the space is conditional; a grid would hold points that differ in nothing.
        """
        for name, dimension in self.dimensions.items():
            if dimension.when:
                raise UsageError(
                    f"{name} exists only {dimension.when}, but a grid takes no conditions; choose another sampler, or "
                    f"leave {name} out with --space {name}=null"
                )
        return {dimension.parameter(name): dimension.grid(points) for name, dimension in self.dimensions.items()}

    def corners(self) -> list[dict[str, Any]]:
        """Two configurations, of all lowest and all highest values: what a check of names and types needs."""
        return [
            {name: dimension.decode(dimension.grid(2)[end]) for name, dimension in self.dimensions.items()}
            for end in (0, -1)
        ]

    def exists(self, dimension: Dimension, values: Mapping[str, Any]) -> bool:
        """Whether a dimension's conditions hold, given the values of those that it depends on."""
        return all(
            name in values and any(self.dimensions[name].is_value(values[name], one) for one in _as_list(wanted))
            for name, wanted in dimension.when.items()
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.dimensions == other.dimensions

    __hash__ = None  # type: ignore[assignment]


def _suggest(
    trial: optuna.trial.BaseTrial, name: str, distribution: optuna.distributions.BaseDistribution
) -> float | int | str | bool | None:
    if isinstance(distribution, optuna.distributions.FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, optuna.distributions.IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, optuna.distributions.CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def _check_conditions(name: str, dimension: Dimension, dimensions: Mapping[str, Dimension]) -> None:
    for other, wanted in dimension.when.items():
        if other not in dimensions:
            raise UsageError(
                f"{name} waits for {other!r}, which is no dimension of this search space; "
                f"{did_you_mean(other, set(dimensions) - {name})}"
            )
        for value in _as_list(wanted):
            if not dimensions[other].can_be(value):
                raise UsageError(f"{name} waits for {other} to be {value!r}, which is none of its choices")


def _in_order(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """The dimensions as they were given, but each after those it depends on."""
    ordered: dict[str, Dimension] = {}
    waiting = dict(dimensions)
    while waiting:
        ready = [name for name, dimension in waiting.items() if set(dimension.when) <= set(ordered)]
        if not ready:
            raise UsageError(
                f"these wait for each other: {', '.join(waiting)}; one of them must exist without condition"
            )
        ordered[ready[0]] = waiting.pop(ready[0])
    return ordered


def _as_list(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _none_is_meant(dimension: Dimension, value: Any) -> bool:
    """Whether None is a choice, instead of the sign that nothing fits."""
    return value is None and dimension.can_be(None) and not isinstance(dimension, _NUMBERS)


_NUMBERS = (Float, Log, Int, LogInt, PowerOfTwo, OneMinus)


def _is_near(one: Any, other: Any, dimension: Dimension) -> bool:
    """Whether a value came back as it was, but for the last digits of a float."""
    if isinstance(one, dict) != isinstance(other, dict):
        return False
    if isinstance(dimension, Float | Log):
        one, other = dimension.number(one), dimension.number(other)
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-9 * max(abs(one), abs(other))
    return dimension.is_value(one, other)
