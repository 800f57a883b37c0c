"""Types of fields that several sections of a configuration share."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _whole(value: Any) -> Any:
    """1e5 is a float to YAML, but a number of steps to everybody else."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of a configuration: no keys but its own, no guessing of types, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
