"""One hyperparameter to be searched: its range, on which scale a study sees it, and back.

| `type` | range | the study sees |
|---|---|---|
| `float` | low, high, (step) | the number |
| `log` | low, high | the number, on a logarithmic scale |
| `int` | low, high, (step) | the number |
| `log_int` | low, high | the number, on a logarithmic scale |
| `power_of_two` | low, high: powers of two | `log2_<name>`: the exponent |
| `one_minus` | low, high below 1 | `one_minus_<name>`: 1 - value, on a logarithmic scale; for γ and λ |
| `categorical` | choices: any data | the choice; lists and mappings as JSON |
| `net_arch` | choices: names of `ARCHITECTURES`, or sizes | the name; sizes as JSON |

Every dimension takes `when: {other: value or [values]}` (it exists only where the other hyperparameter has such a
value) and `default` (what the algorithm does where the hyperparameter is not given; only needed where the constructor's
signature does not say it). Numbers take `becomes`: `linear_schedule`, `normal_noise` or `ornstein_uhlenbeck_noise`,
which the number is the initial value or the standard deviation of.
"""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import optuna
from pydantic import BeforeValidator, Field, model_validator

from tuning.fields import Section

Category = str | int | float | bool | None

#: Hidden layers by name, as rl-baselines3-zoo calls the first three; `default` leaves them to the algorithm.
ARCHITECTURES: dict[str, list[int] | None] = {
    "default": None,
    "tiny": [64],
    "small": [64, 64],
    "medium": [256, 256],
    "large": [400, 300],
}
# what a number can be the main value of: the rest of the mapping, and the number's key in it
_BECOMES = {
    "linear_schedule": ({"schedule": "linear"}, "initial"),
    "normal_noise": ({"type": "normal"}, "sigma"),
    "ornstein_uhlenbeck_noise": ({"type": "ornstein_uhlenbeck"}, "sigma"),
}
_DIGITS = 12  # 1 - 0.01 is 0.99, not 0.9900000000000000x

Becomes = Literal["linear_schedule", "normal_noise", "ornstein_uhlenbeck_noise"]
# 1 is a float to everybody but a strict schema
Number = Annotated[float, BeforeValidator(lambda value: float(value) if type(value) is int else value)]
Finite = Annotated[Number, Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(lambda v: int(v) if isinstance(v, float) and v.is_integer() else v)]


class Dimension(Section):
    """What all dimensions have.

    Attributes:
        when: values of other dimensions under which this one exists.
        default: what is meant where the hyperparameter is not given.
    """

    when: dict[str, Any] = Field(default_factory=dict)
    default: Any = None

    def parameter(self, name: str) -> str:
        """What the study calls it."""
        return name

    def distribution(self) -> optuna.distributions.BaseDistribution:
        """What the study sees."""
        raise NotImplementedError

    def decode(self, parameter: Any) -> Any:
        """From what the study sees to the hyperparameter."""
        raise NotImplementedError

    def encode(self, value: Any) -> Any:
        """From the hyperparameter to the nearest value that the study knows; None where there is none near."""
        raise NotImplementedError

    def grid(self, points: int) -> list[Any]:
        """At most so many values, as the study sees them, evenly spread from one end to the other."""
        raise NotImplementedError

    def is_value(self, value: Any, wanted: Any) -> bool:
        """Whether the hyperparameter's value is what a `when` asks for."""
        return bool(value == wanted)

    def can_be(self, wanted: Any) -> bool:
        """Whether a `when` may ask for this value."""
        return True


class _Number(Dimension):
    """A number, perhaps inside a mapping that stands for an object."""

    becomes: Becomes | None = None

    def decode(self, parameter: Any) -> Any:
        if self.becomes is None:
            return parameter
        rest, key = _BECOMES[self.becomes]
        return {**rest, key: parameter}

    def number(self, value: Any) -> float | None:
        """The number that this hyperparameter's value is made of; None for a value of another kind."""
        if isinstance(value, dict):
            # a constant is near the schedule that begins with it
            key = "initial" if "schedule" in value else "sigma"
            value = value.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)


class Float(_Number):
    """A number, uniformly."""

    type: Literal["float"] = "float"
    low: Finite
    high: Finite
    step: Annotated[Finite, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    def distribution(self) -> optuna.distributions.FloatDistribution:
        # Optuna cuts a range that its step does not divide, with a warning
        high = self.high if self.step is None else self.low + self.step * math.floor(self._steps + 1e-9)
        return optuna.distributions.FloatDistribution(self.low, high, step=self.step)

    @property
    def _steps(self) -> float:
        return (self.high - self.low) / (self.step or 1.0)

    def encode(self, value: Any) -> float | None:
        number = self.number(value)
        if number is None:
            return None
        inside = min(max(number, self.low), self.distribution().high)
        return inside if self.step is None else self.low + self.step * round((inside - self.low) / self.step)

    def grid(self, points: int) -> list[float]:
        if self.step is not None:
            every = [self.low + self.step * index for index in range(math.floor(self._steps + 1e-9) + 1)]
            return _spread(every, points)
        return np.linspace(self.low, self.high, points).tolist()


class Log(_Number):
    """A positive number, its logarithm uniformly."""

    type: Literal["log"] = "log"
    low: Annotated[Finite, Field(gt=0)]
    high: Annotated[Finite, Field(gt=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    def distribution(self) -> optuna.distributions.FloatDistribution:
        return optuna.distributions.FloatDistribution(self.low, self.high, log=True)

    def encode(self, value: Any) -> float | None:
        number = self.number(value)
        return None if number is None else min(max(number, self.low), self.high)

    def grid(self, points: int) -> list[float]:
        return [min(max(x, self.low), self.high) for x in np.geomspace(self.low, self.high, points).tolist()]


class Int(Dimension):
    """A whole number, uniformly."""

    type: Literal["int"] = "int"
    low: Whole
    high: Whole
    step: Annotated[Whole, Field(gt=0)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    @property
    def _last(self) -> int:
        return self.high - (self.high - self.low) % self.step

    def distribution(self) -> optuna.distributions.IntDistribution:
        return optuna.distributions.IntDistribution(self.low, self._last, step=self.step)

    def decode(self, parameter: Any) -> int:
        return int(parameter)

    def encode(self, value: Any) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        inside = min(max(value, self.low), self._last)
        return self.low + self.step * round((inside - self.low) / self.step)

    def grid(self, points: int) -> list[int]:
        return _spread(list(range(self.low, self._last + 1, self.step)), points)


class LogInt(Dimension):
    """A positive whole number, its logarithm uniformly."""

    type: Literal["log_int"] = "log_int"
    low: Annotated[Whole, Field(gt=0)]
    high: Annotated[Whole, Field(gt=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    def distribution(self) -> optuna.distributions.IntDistribution:
        return optuna.distributions.IntDistribution(self.low, self.high, log=True)

    def decode(self, parameter: Any) -> int:
        return int(parameter)

    def encode(self, value: Any) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return round(min(max(value, self.low), self.high))

    def grid(self, points: int) -> list[int]:
        return list(dict.fromkeys(round(x) for x in np.geomspace(self.low, self.high, points).tolist()))


class PowerOfTwo(Dimension):
    """A power of two, its exponent uniformly."""

    type: Literal["power_of_two"] = "power_of_two"
    low: Whole
    high: Whole

    @model_validator(mode="after")
    def _powers(self) -> Self:
        for bound in (self.low, self.high):
            if bound < 1 or bound & (bound - 1):
                raise ValueError(f"{bound} is no power of two; write 1, 2, 4, 8, ...")
        _check_order(self.low, self.high)
        return self

    def parameter(self, name: str) -> str:
        return f"log2_{name}"

    @property
    def _exponents(self) -> tuple[int, int]:
        return self.low.bit_length() - 1, self.high.bit_length() - 1

    def distribution(self) -> optuna.distributions.IntDistribution:
        return optuna.distributions.IntDistribution(*self._exponents)

    def decode(self, parameter: Any) -> int:
        return 2 ** int(parameter)

    def encode(self, value: Any) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            return None
        low, high = self._exponents
        return min(max(round(math.log2(value)), low), high)

    def grid(self, points: int) -> list[int]:
        low, high = self._exponents
        return _spread(list(range(low, high + 1)), points)


class OneMinus(Dimension):
    """A number just below 1, such as a discount, the logarithm of its distance from 1 uniformly."""

    type: Literal["one_minus"] = "one_minus"
    low: Annotated[Finite, Field(lt=1)]
    high: Annotated[Finite, Field(lt=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    def parameter(self, name: str) -> str:
        return f"one_minus_{name}"

    @property
    def _distances(self) -> tuple[float, float]:
        return _complement(self.high), _complement(self.low)

    def distribution(self) -> optuna.distributions.FloatDistribution:
        return optuna.distributions.FloatDistribution(*self._distances, log=True)

    def decode(self, parameter: Any) -> float:
        return _complement(parameter)

    def encode(self, value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        low, high = self._distances
        return min(max(_complement(value), low), high)

    def grid(self, points: int) -> list[float]:
        low, high = self._distances
        return [min(max(x, low), high) for x in np.geomspace(low, high, points).tolist()]


class Categorical(Dimension):
    """One of several values without an order."""

    type: Literal["categorical"] = "categorical"
    choices: Annotated[list[Any], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_distinct([self.category(choice) for choice in self.choices])
        return self

    @staticmethod
    def category(choice: Any) -> Category:
        """What the study calls a choice: storages hold scalars only."""
        return json.dumps(choice, sort_keys=True) if isinstance(choice, list | dict) else choice

    def _values(self) -> list[tuple[Category, Any]]:
        return [(self.category(choice), choice) for choice in self.choices]

    def distribution(self) -> optuna.distributions.CategoricalDistribution:
        return optuna.distributions.CategoricalDistribution([category for category, _ in self._values()])

    def decode(self, parameter: Any) -> Any:
        # True == 1 in Python, but a choice of true is none of 1
        return next(value for category, value in self._values() if _same(category, parameter))

    def encode(self, value: Any) -> Category:
        return next((category for category, choice in self._values() if _same(choice, value)), None)

    def grid(self, points: int) -> list[Category]:
        return [category for category, _ in self._values()]

    def can_be(self, wanted: Any) -> bool:
        return any(self.is_value(value, wanted) for _, value in self._values())

    def is_value(self, value: Any, wanted: Any) -> bool:
        return _same(value, wanted)


class NetArch(Categorical):
    """Sizes of hidden layers, by name or written out; see `ARCHITECTURES`."""

    type: Literal["net_arch"] = "net_arch"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _known(self) -> Self:
        for choice in self.choices:
            if not isinstance(choice, list | dict) and choice not in ARCHITECTURES:
                raise ValueError(
                    f"{choice!r} is no architecture; write {', '.join(ARCHITECTURES)}, sizes such as [64, 64], or "
                    "{pi: [64], vf: [64]}"
                )
        return self

    def _values(self) -> list[tuple[Category, Any]]:
        return [(self.category(choice), self._sizes(choice)) for choice in self.choices]

    @staticmethod
    def _sizes(choice: Any) -> Any:
        return ARCHITECTURES.get(choice, choice) if isinstance(choice, str) else choice

    def encode(self, value: Any) -> Category:
        if isinstance(value, str) and value in ARCHITECTURES:  # `default: small`
            value = ARCHITECTURES[value]
        return super().encode(value)

    def is_value(self, value: Any, wanted: Any) -> bool:
        return _same(value, self._sizes(wanted))


AnyDimension = Annotated[
    Float | Log | Int | LogInt | PowerOfTwo | OneMinus | Categorical | NetArch, Field(discriminator="type")
]
#: By what stands in `type`.
TYPES: dict[str, type[Dimension]] = {
    "float": Float,
    "log": Log,
    "int": Int,
    "log_int": LogInt,
    "power_of_two": PowerOfTwo,
    "one_minus": OneMinus,
    "categorical": Categorical,
    "net_arch": NetArch,
}


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"low {low} is above high {high}; exchange them")


def _check_distinct(categories: Sequence[Category]) -> None:
    seen: list[Category] = []
    for category in categories:
        if any(_same(category, other) for other in seen):
            raise ValueError(f"{category!r} is there twice; keep one of them")
        seen.append(category)


def _same(one: Any, other: Any) -> bool:
    """Equal and of one kind: 1 and 1.0 are, 1 and true are not."""
    return bool(isinstance(one, bool) == isinstance(other, bool) and one == other)


def _complement(value: float) -> float:
    return round(1.0 - value, _DIGITS)


def _spread(values: list[Any], points: int) -> list[Any]:
    """At most `points` of the values, evenly spread, with the first and the last."""
    if len(values) <= points:
        return values
    return [values[round(index)] for index in np.linspace(0, len(values) - 1, points).tolist()]
