"""What the catalogue knows about an algorithm."""

import re
from dataclasses import dataclass

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True)
class AgentSpec:
    """One algorithm: its class and what a caller needs to know before making one.

    Args:
        key: the name on the command line, in file names and in saved models: lower case letters, digits, `_`, `.`, `-`.
            Built-in algorithms use the class name in lower case.
        cls: the class, with the constructor of SB3's algorithms.
        default_policy: a name among the class's `policy_aliases`, for flat observations where there is a choice.
        paper: authors, title, year; empty where unknown.
        action_spaces: names of the `gymnasium.spaces` classes that the constructor accepts as action space.
        asynchronous: whether it trains in worker processes of its own (`n_workers`).

    Raises:
        TypeError: `cls` is not a subclass of BaseAlgorithm.
        ValueError: another field has a value outside of what is described above.
    """

    key: str
    cls: type[BaseAlgorithm]
    default_policy: str
    paper: str
    action_spaces: tuple[str, ...]
    asynchronous: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.cls, type) or not issubclass(self.cls, BaseAlgorithm):
            raise TypeError(
                f"AgentSpec {self.key!r} got cls={self.cls!r}, but it must be a subclass of "
                "stable_baselines3.common.base_class.BaseAlgorithm; pass the class itself, not an instance or a name."
            )
        if not _KEY.fullmatch(self.key):
            raise ValueError(
                f"AgentSpec key {self.key!r} is not allowed: a key consists of lower case letters, digits, '_', '.' "
                f"and '-' and starts with a letter or digit; try {self.cls.__name__.lower()!r}."
            )
        if self.default_policy not in self.cls.policy_aliases:
            raise ValueError(
                f"AgentSpec {self.key!r} names default_policy={self.default_policy!r}, but {self.cls.__name__} has "
                f"{sorted(self.cls.policy_aliases)}; name one of these or add yours to policy_aliases."
            )
        if not self.action_spaces or not all(map(_is_space_name, self.action_spaces)):
            raise ValueError(
                f"AgentSpec {self.key!r} names action_spaces={self.action_spaces!r}, but one or more names of "
                "gymnasium.spaces classes are needed, for example ('Box', 'Discrete'); spell them as Gymnasium does."
            )


def _is_space_name(name: str) -> bool:
    space_class = getattr(spaces, name, None)
    return isinstance(space_class, type) and issubclass(space_class, spaces.Space)
