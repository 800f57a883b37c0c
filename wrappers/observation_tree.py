"""Transforms for a whole observation, however deeply Dict and Tuple spaces are nested."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from wrappers.rules import Rules, RunningOptions, build, children
from wrappers.transforms import AnySpace, Pass, Running, Transform


class ObservationTree:
    """A transform a leaf, in the shape of the observation space.

    Args:
        space: of single observations.
        rules: see `wrappers.rules`.
        options: for the rule `running`.
        path: where in the observation this tree stands; "" at the root.

    Attributes:
        space: of what comes out.

    Raises:
        ValueError: a rule does not fit its space.
    """

    def __init__(self, space: AnySpace, rules: Rules, options: RunningOptions, path: str = "") -> None:
        self._path = path
        self._is_tuple = isinstance(space, spaces.Tuple)
        self._children: dict[str, ObservationTree] = {}
        self._transform: Transform | None = None
        name = f"observation {path!r}" if path else "observation"
        if not isinstance(space, spaces.Dict | spaces.Tuple):
            self._transform = build(space, rules, name, options)  # type: ignore[arg-type]  # build checks the type
            self.space = self._transform.space
            return
        for key, (part, part_rules) in children(space, rules, name).items():
            self._children[key] = ObservationTree(part, part_rules, options, f"{path}/{key}" if path else key)
        parts = {key: child.space for key, child in self._children.items()}
        self.space = spaces.Tuple(list(parts.values())) if self._is_tuple else spaces.Dict(parts)

    def __call__(self, observation: Any, *, update: bool) -> Any:
        """Transform a single observation; `update` lets statistics learn from it first."""
        if self._transform is not None:
            if isinstance(self._transform, Pass):
                return observation  # of any type: text, graphs, sequences
            return self._transform(np.asarray(observation)[None], update=update)[0]
        if self._is_tuple:
            return tuple(
                child(part, update=update) for child, part in zip(self._children.values(), observation, strict=True)
            )
        return {key: child(observation[key], update=update) for key, child in self._children.items()}

    def leaves(self) -> Iterator[tuple[str, Transform]]:
        """Every transform with its path: keys joined by "/", "" for a flat observation."""
        if self._transform is not None:
            yield self._path, self._transform
        for child in self._children.values():
            yield from child.leaves()

    def running(self) -> dict[str, Running]:
        """The transforms that learn, by path."""
        return {path: transform for path, transform in self.leaves() if isinstance(transform, Running)}


def leaves_to_arrays(leaves: Mapping[str, Transform], prefix: str) -> dict[str, np.ndarray]:
    """Rule and content of every transform, as `<prefix>/<path>/<name>`."""
    arrays: dict[str, np.ndarray] = {}
    for path, transform in leaves.items():
        where = f"{prefix}/{path}" if path else prefix
        arrays[f"{where}/rule"] = np.array(transform.rule)
        arrays |= {f"{where}/{name}": array for name, array in transform.to_arrays().items()}
    return arrays


def load_leaves(leaves: Mapping[str, Transform], arrays: Mapping[str, np.ndarray], prefix: str) -> None:
    """Take over what `leaves_to_arrays` gave.

    Raises:
        ValueError: the arrays have other keys or rules, or belong to other spaces; the message names the key. Nothing
            has changed then.
    """
    remedy = "use the environment and the rules the statistics were made with, or normalize anew."
    saved = {
        name[len(prefix) + 1 : -len("/rule")] for name in arrays if name.startswith(prefix) and name.endswith("/rule")
    }
    if saved != set(leaves):
        path = max(saved ^ set(leaves))  # one that has a name rather than the whole observation, whose path is ""
        where, has = ("file", "environment") if path in saved else ("environment", "file")
        what = f"the observation {path!r}" if path else "an observation without keys"
        raise ValueError(f"The {where} has {what}, but the {has} has not; {remedy}")
    groups = {}
    for path, transform in leaves.items():
        where = f"{prefix}/{path}" if path else prefix
        rule = str(arrays[f"{where}/rule"])
        if rule != transform.rule:
            raise ValueError(f"{transform.name}: saved with the rule {rule!r}, but it is {transform.rule!r}; {remedy}")
        groups[path] = {name[len(where) + 1 :]: arrays[name] for name in arrays if name.startswith(f"{where}/")}
        copy.copy(transform).load_arrays(groups[path])  # a trial, so that a refusal leaves all of them as they were
    for path, transform in leaves.items():
        transform.load_arrays(groups[path])
