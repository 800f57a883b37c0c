"""YAML as plain data that remembers where each key was written, so that an error can name file and line.

Only YAML's safe tags are constructed. Two things differ from PyYAML's `safe_load`, both because they would otherwise go
wrong silently: `1e-3` is a number (YAML 1.1 asks for `1.0e-3` and reads anything less as text), and a key given twice
in one mapping is an error (PyYAML keeps the last one).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tuning.errors import UsageError

KeyPath = tuple[str, ...]

_MERGE_TAG = "tag:yaml.org,2002:merge"

# A mapping with one of these keys is one value of a kind ({schedule: linear, initial: 0.001}): replaced, never merged
_KIND_KEYS = ("schedule", "type", "rule")


class _Loader(yaml.SafeLoader):
    """SafeLoader that also reads 1e-3 as a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class Located:
    """Plain data, and the place of each key in words.

    Attributes:
        data: a mapping as YAML gives it.
        places: for each path of keys, where it was written ("zoo_configs/ppo.yml, line 12").
    """

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)

    @classmethod
    def written_at(cls, place: str, data: Mapping[str, Any]) -> "Located":
        """Data that has one place as a whole, such as the command line."""
        return cls(dict(data), {(): place})

    def place(self, path: KeyPath) -> str:
        """Where this key, or the nearest key around it, was written; empty if unknown."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return ""

    def below(self, *path: str) -> "Located":
        """The mapping at this path, as its own tree; empty where there is none.

        Raises:
            UsageError: there is something, but no mapping.
        """
        data: Any = self.data
        for depth, key in enumerate(path, start=1):
            data = data.get(key)
            if data is None:
                return Located()
            if not isinstance(data, dict):
                raise UsageError(
                    f"{self.place(path[:depth])}: {'.'.join(path[:depth])} is {data!r}, but it must be a mapping of "
                    "keys to values; compare it with the files in zoo_configs"
                )
        return Located(data, self._places_below(path))

    def under(self, above: "Located") -> "Located":
        """This tree with `above` laid over it: mappings are merged key by key, everything else is replaced."""
        data = dict(self.data)
        places = dict(self.places)
        for key, value in above.data.items():
            if _mergeable(data.get(key)) and _mergeable(value):
                child = self.below(key).under(above.below(key))
            else:
                child = Located(value, above._places_below((key,)))
            data[key] = child.data
            places = {path: place for path, place in places.items() if path[:1] != (key,)}
            places |= {(key, *path): place for path, place in child.places.items()}
        return Located(data, places)

    def _places_below(self, path: KeyPath) -> dict[KeyPath, str]:
        inner = {key[len(path) :]: place for key, place in self.places.items() if key[: len(path)] == path}
        return {(): self.place(path), **inner}


def _mergeable(value: Any) -> bool:
    return isinstance(value, dict) and not any(key in value for key in _KIND_KEYS)


def read_yaml(path: Path) -> Located:
    """Read a file that holds one mapping.

    Raises:
        UsageError: the file is missing, is no YAML, holds no mapping, or has a key twice; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); check the name") from error
    data, root = _load(text, lambda line: f"{path}, line {line}")
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{path} holds no mapping of keys to values; compare it with the files in zoo_configs")
    places: dict[KeyPath, str] = {}
    _note_places(root, (), places, lambda line: f"{path}, line {line}")
    return Located(data, places)


def parse_value(text: str) -> Any:
    """One value as YAML reads it: a number, true, null, text, [a, list], {a: mapping}.

    Raises:
        UsageError: the text is no YAML.
    """
    return _load(text, lambda _: f"the value {text!r}")[0]


def _load(text: str, place: Callable[[int], str]) -> tuple[Any, yaml.Node | None]:
    """The value and its node tree (None for an empty text); `place` puts a line number into words."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        _refuse_traps(root, place, set())
        return loader.construct_document(root), root
    except UsageError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = place(mark.line + 1 if mark else 1)
        raise UsageError(f"{where}: this is no valid YAML ({error.problem or error.context}); put it right") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, for example
        raise UsageError(f"{place(1)}: this is no valid YAML ({' '.join(str(error).split())}); put it right") from error
    finally:
        loader.dispose()


def _refuse_traps(node: yaml.Node, place: Callable[[int], str], around: set[yaml.Node]) -> None:
    """Raise for a key given twice in one mapping, and for a node that contains itself."""
    if node in around:
        raise UsageError(f"{place(node.start_mark.line + 1)}: this contains itself; write the value out")
    children = []
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = str(key.value)
            if name in seen and key.tag != _MERGE_TAG:
                raise UsageError(
                    f"{place(line)}: the key {name!r} was given in line {seen[name]} already; keep one of them"
                )
            seen[name] = line
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        _refuse_traps(child, place, {*around, node})


def _note_places(node: yaml.Node, path: KeyPath, places: dict[KeyPath, str], place: Callable[[int], str]) -> None:
    if isinstance(node, yaml.MappingNode):
        children = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(index), value, value) for index, value in enumerate(node.value)]
    else:
        return
    for name, where, value in children:
        places[*path, name] = place(where.start_mark.line + 1)
        _note_places(value, (*path, name), places, place)
