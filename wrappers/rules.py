"""Which rule applies to which observation: parsing, `auto`, and the refusals.

A rule is written as its name, or as a mapping where it needs numbers:

    "running"                                              statistics of what was seen
    "bounds"                                               the space's own bounds to [-1, 1]
    {"rule": "bounds", "low": [...], "high": [...]}        other bounds, where the space has none
    "image"                                                pixels to [0, 1]
    "one_hot"                                              categories to unit vectors
    "pass"                                                 as it is
    "auto"                                                 chosen by the space, see `choose`

For a Dict observation the rules are one name for every key, or a mapping from keys to rules in which keys left out are
"auto"; for a Tuple a name or a sequence. Nested spaces take nested rules. All of it can be written in YAML.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from wrappers.transforms import AnySpace, Bounds, Image, OneHot, Pass, Running, Transform

RULES = ("running", "bounds", "image", "one_hot", "pass", "auto")

Rule = str | Mapping[str, Any]
Rules = Rule | Sequence[Any]

# Bounds beyond this say "some number" rather than where observations lie (float32's largest number is a favorite).
LARGEST_BOUND = 1e6


@dataclass(frozen=True, kw_only=True)
class RunningOptions:
    """What every `running` rule of one wrapper shares; see `wrappers.transforms.Running`."""

    epsilon: float = 1e-8
    clip: float = 10.0
    prior_count: float = 1e-4
    decay: float = 1.0
    warmup: int = 0

    def __post_init__(self) -> None:
        """Check the two options that no one else checks."""
        if not self.epsilon > 0:
            raise ValueError(f"epsilon={self.epsilon}, but it must be positive to keep a constant feature finite.")
        if not self.clip > 0:
            raise ValueError(f"clip={self.clip}, but it must be positive; float('inf') clips nothing.")


def choose(space: AnySpace) -> str:
    """The rule that `auto` stands for: the one that needs to learn least.

    Args:
        space: of one key, neither Dict nor Tuple.

    Returns:
        `image` for a uint8 Box from 0 to 255 with at least two dimensions; `bounds` for another Box with finite bounds
        up to 1e6; `running` for any other Box; `one_hot` for Discrete and MultiDiscrete; `pass` for all else.
    """
    if isinstance(space, spaces.Box):
        is_byte = space.dtype == np.uint8 and bool((space.low == 0).all() and (space.high == 255).all())
        if is_byte and len(space.shape) >= 2:
            return "image"
        return "bounds" if _largest(space) <= LARGEST_BOUND else "running"
    return "one_hot" if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) else "pass"


def build(space: AnySpace, rule: Rule, name: str, options: RunningOptions) -> Transform:
    """The transform for one key.

    Args:
        space: of the key, neither Dict nor Tuple.
        rule: see the module.
        name: what is transformed, for messages: "observation" or "observation 'speed'".
        options: for the rule `running`.

    Raises:
        ValueError: there is no such rule, or it does not fit the space; the message names the key.
        TypeError: the rule is neither a name nor a mapping.
    """
    rule_name, low, high = _parse(rule, name)
    if rule_name == "auto":
        rule_name = choose(space)
    if rule_name == "pass":
        return Pass(name, space)
    if rule_name == "one_hot":
        if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            raise _misfit(name, rule_name, "Discrete or MultiDiscrete", space)
        return OneHot(name, space)
    if not isinstance(space, spaces.Box):
        raise _misfit(name, rule_name, "Box", space)
    if rule_name == "running":
        return Running(
            name,
            space,
            epsilon=options.epsilon,
            clip=options.clip,
            prior_count=options.prior_count,
            decay=options.decay,
            warmup=options.warmup,
        )
    if rule_name == "image":
        if len(space.shape) < 2 or not np.isfinite(_largest(space)):
            raise _misfit(name, rule_name, "Box with finite bounds and at least two dimensions", space)
        return Image(name, space)
    return _build_bounds(space, low, high, name)


def children(space: spaces.Dict | spaces.Tuple, rules: Rules, name: str) -> dict[str, tuple[AnySpace, Rules]]:
    """The parts of a Dict or Tuple space, by key (a Tuple's are "0", "1", ...), each with its rules.

    Args:
        space: the composite space.
        rules: for all of it, see the module.
        name: what the space describes, for messages.

    Raises:
        ValueError: a key that the space does not have, or a sequence of another length.
        TypeError: rules of another type than the space takes.
    """
    if isinstance(space, spaces.Dict):
        parts = {str(key): part for key, part in space.spaces.items()}
    else:
        parts = {str(index): part for index, part in enumerate(space.spaces)}
    if isinstance(rules, str):
        return {key: (part, rules) for key, part in parts.items()}
    if isinstance(space, spaces.Tuple) and not isinstance(rules, Mapping):
        if not isinstance(rules, Sequence):
            raise TypeError(f"{name}: rules of type {type(rules).__name__}; give a name or a list, one rule a part.")
        if len(rules) != len(parts):
            raise ValueError(f"{name}: {len(rules)} rules for a Tuple of {len(parts)}; give one rule a part.")
        return {key: (part, rule) for (key, part), rule in zip(parts.items(), rules, strict=True)}
    if not isinstance(rules, Mapping):
        raise TypeError(f"{name}: rules of type {type(rules).__name__}; give a name or a mapping from keys to rules.")
    given = {str(key): rule for key, rule in rules.items()}
    for key in given:
        if key not in parts:
            near = difflib.get_close_matches(key, parts, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"{name}: a rule for the key {key!r}, but the space has {sorted(parts)}{hint}")
    return {key: (part, given.get(key, "auto")) for key, part in parts.items()}


def as_data(rules: Any) -> Any:
    """Rules as they can be written to JSON or YAML: bounds as lists instead of arrays, tuples as lists."""
    if isinstance(rules, Mapping):
        return {key: as_data(rule) for key, rule in rules.items()}
    if isinstance(rules, np.ndarray | np.generic):
        return rules.tolist()
    return [as_data(rule) for rule in rules] if isinstance(rules, list | tuple) else rules


def _parse(rule: Rules, name: str) -> tuple[str, Any, Any]:
    """Name of the rule and bounds given with it, None where none are given."""
    if isinstance(rule, Mapping):
        unknown = set(rule) - {"rule", "low", "high"}
        if unknown or "rule" not in rule:
            raise ValueError(f"{name}: the rule {dict(rule)}; a rule in full has the entries rule, low and high.")
        rule_name, low, high = rule["rule"], rule.get("low"), rule.get("high")
    else:
        rule_name, low, high = rule, None, None
    if not isinstance(rule_name, str):
        raise TypeError(f"{name}: the rule {rule_name!r} of type {type(rule_name).__name__}; use one of {RULES}.")
    if rule_name not in RULES:
        near = difflib.get_close_matches(rule_name, RULES, 1)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of them."
        raise ValueError(f"{name}: the rule {rule_name!r}, but there are {RULES}; {hint}")
    if rule_name != "bounds" and not (low is None and high is None):
        raise ValueError(f"{name}: the rule {rule_name!r} with low or high; only 'bounds' takes them.")
    return rule_name, low, high


def _build_bounds(space: spaces.Box, low: Any, high: Any, name: str) -> Bounds:
    bounds = []
    for what, given, own in (("low", low, space.low), ("high", high, space.high)):
        bound = np.array(own if given is None else given, dtype=np.float64)
        if bound.shape not in {(), space.shape}:
            raise ValueError(f"{name}: {what} has shape {bound.shape}; give one number, or shape {space.shape}.")
        bounds.append(np.broadcast_to(bound, space.shape).copy())
    if not (np.isfinite(bounds[0]).all() and np.isfinite(bounds[1]).all()):
        raise ValueError(
            f"{name}: the rule 'bounds', but {space} is not bounded everywhere; use 'running', or give the bounds: "
            "{'rule': 'bounds', 'low': ..., 'high': ...}."
        )
    if not (bounds[0] <= bounds[1]).all():
        raise ValueError(f"{name}: low {bounds[0].tolist()} lies above high {bounds[1].tolist()}; exchange them.")
    return Bounds(name, space, *bounds, given=not (low is None and high is None))


def _largest(box: spaces.Box) -> float:
    """Largest absolute bound; infinite where there is none."""
    bounds = np.concatenate([box.low.reshape(-1), box.high.reshape(-1)]).astype(np.float64)
    return float(np.abs(bounds).max(initial=0.0))


def _misfit(name: str, rule: str, needed: str, space: AnySpace) -> ValueError:
    return ValueError(
        f"{name}: the rule {rule!r} needs a {needed} space, but it is {space}; use {choose(space)!r} or 'auto'."
    )
