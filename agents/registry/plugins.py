"""Algorithms of other installed packages, found through the entry-point group `actorzoo.agents`.

A package offers its algorithms in its own pyproject.toml:

    [project.entry-points."actorzoo.agents"]
    sbx_ppo = "sbx:PPO"                  # a subclass of SB3's BaseAlgorithm
    my_agent = "my_package.catalogue:MY_AGENT"   # or an AgentSpec, which says more

The entry point's name is the algorithm's key. Names are known without importing anything: a package is imported when
its algorithm is asked for or when everything is listed, so an installed JAX costs nothing to those who train PPO.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.registry.spec import AgentSpec

GROUP = "actorzoo.agents"

_CANDIDATES: dict[str, spaces.Space[Any]] = {
    "Box": spaces.Box(-1.0, 1.0, (1,), np.float32),
    "Discrete": spaces.Discrete(2),
    "MultiBinary": spaces.MultiBinary(2),
    "MultiDiscrete": spaces.MultiDiscrete([2, 2]),
}
# a constructor that does not take an action space says so in one of these ways; SB3's own assert
_REFUSALS = (AssertionError, NotImplementedError, ValueError)


class PluginError(ValueError):
    """An entry point that gives no algorithm; the message names it, its package and the cause."""


def installed_entry_points() -> Iterable[EntryPoint]:
    """What installed packages declare in the group."""
    return entry_points(group=GROUP)


class Plugins:
    """Entry points by key, each loaded at most once.

    Args:
        find: gives the entry points; called once, at first use, because it reads the metadata of every installed
            package (tens of milliseconds).
    """

    def __init__(self, find: Callable[[], Iterable[EntryPoint]] = installed_entry_points) -> None:
        self._find = find
        self._found: dict[str, list[EntryPoint]] | None = None
        self._loaded: dict[str, AgentSpec | PluginError] = {}

    def __iter__(self) -> Iterator[str]:
        """Every declared key in sorted order, whether or not its package can be imported."""
        return iter(sorted(self._entry_points()))

    def __contains__(self, key: object) -> bool:
        return key in self._entry_points()

    def describe(self, key: str) -> str:
        """How to name the entry points of a key in a message."""
        return " and ".join(_describe(entry_point) for entry_point in self._entry_points()[key])

    def load(self, key: str) -> AgentSpec:
        """The algorithm behind a key.

        Raises:
            PluginError: its package cannot be imported, gives something else, or shares the key with another package.
        """
        if key not in self._loaded:
            try:
                self._loaded[key] = self._load(key)
            except PluginError as error:
                self._loaded[key] = error
        loaded = self._loaded[key]
        if isinstance(loaded, PluginError):
            raise loaded
        return loaded

    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        if self._found is None:
            found: defaultdict[str, list[EntryPoint]] = defaultdict(list)
            for entry_point in self._find():
                # one package seen twice (installed, and again on sys.path) is no contradiction
                if entry_point.value not in [other.value for other in found[entry_point.name.lower()]]:
                    found[entry_point.name.lower()].append(entry_point)
            self._found = dict(found)
        return self._found

    def _load(self, key: str) -> AgentSpec:
        if len(self._entry_points()[key]) > 1:
            raise PluginError(
                f"The algorithm key {key!r} is claimed by {self.describe(key)}, but one key means one algorithm; "
                "uninstall one of the packages."
            )
        (entry_point,) = self._entry_points()[key]
        try:
            target = entry_point.load()
            spec = target if isinstance(target, AgentSpec) else derive_spec(key, target)
        except Exception as error:  # whatever a foreign package raises: its name has to be in the message
            raise PluginError(
                f"The {_describe(entry_point)} gives no algorithm: {type(error).__name__}: {error}; "
                "repair or uninstall that package."
            ) from error
        if spec.key != key:
            raise PluginError(
                f"The {_describe(entry_point)} gives an AgentSpec with the key {spec.key!r}, but both must be the "
                "same; rename one of them."
            )
        return spec


def derive_spec(key: str, cls: type[BaseAlgorithm]) -> AgentSpec:
    """Describe a class that comes without an AgentSpec.

    The default policy is `MlpPolicy`, else `MlpLstmPolicy`, else the first of the class's `policy_aliases`. The action
    spaces are those that the constructor accepts. The paper is what the class's docstring gives behind "Paper:", as
    SB3 and SBX write it.

    Raises:
        TypeError: not a subclass of BaseAlgorithm.
        ValueError: the class has no policy names, or accepts no action space.
    """
    if not isinstance(cls, type) or not issubclass(cls, BaseAlgorithm):
        raise TypeError(f"got {cls!r}, but an AgentSpec or a subclass of BaseAlgorithm is needed")
    if not cls.policy_aliases:
        raise ValueError(f"{cls.__name__} names no policy in policy_aliases, so none can be chosen; give an AgentSpec")
    default_policy = next(
        (name for name in ("MlpPolicy", "MlpLstmPolicy") if name in cls.policy_aliases), next(iter(cls.policy_aliases))
    )
    paper = re.search(r"^\s*Paper:\s*(\S.*?)\s*$", cls.__doc__ or "", re.MULTILINE)
    return AgentSpec(
        key=key,
        cls=cls,
        default_policy=default_policy,
        paper=paper.group(1) if paper else "",
        action_spaces=accepted_action_spaces(cls, default_policy),
    )


def accepted_action_spaces(cls: type[BaseAlgorithm], policy: str) -> tuple[str, ...]:
    """Which action spaces a class takes, found by asking its constructor (SB3's classes do not tell otherwise).

    No network is built (`_init_setup_model=False`, which SB3's `load` needs as well), so asking takes a millisecond.

    Raises:
        ValueError: it takes none; the message gives the constructor's reasons.
    """
    accepted: list[str] = []
    reasons: list[str] = []
    for name, action_space in _CANDIDATES.items():
        env: gymnasium.Env[Any, Any] = gymnasium.Env()
        env.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        env.action_space = action_space
        try:
            cls(policy, env, _init_setup_model=False)  # type: ignore[call-arg]
        except _REFUSALS as reason:
            reasons.append(f"{name}: {reason}")
        else:
            accepted.append(name)
    if not accepted:
        raise ValueError(f"{cls.__name__} takes none of these action spaces ({'; '.join(reasons)}); give an AgentSpec")
    return tuple(accepted)


def _describe(entry_point: EntryPoint) -> str:
    package = entry_point.dist.name if entry_point.dist else "an unknown package"
    return f"entry point {entry_point.name} = {entry_point.value} of {package}"
