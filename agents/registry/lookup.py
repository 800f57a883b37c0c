"""Look-up of algorithms by key: built-in ones, registered ones, and those of other installed packages."""

import warnings
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.registry.plugins import PluginError, Plugins
from agents.registry.spec import AgentSpec


class Registry:
    """Algorithms by key.

    An entry point never takes a key from a built-in or registered algorithm: it is left out, with a warning.

    Args:
        builtin: the algorithms whose keys nobody can take.
        plugins: the entry points of other packages.
    """

    def __init__(self, builtin: Iterable[AgentSpec], plugins: Plugins) -> None:
        self._builtin = {spec.key: spec for spec in builtin}
        self._registered: dict[str, AgentSpec] = {}
        self._plugins = plugins
        self._warned: set[str] = set()

    def get(self, name: str) -> AgentSpec:
        """The algorithm of a key or class name, in any case.

        A key wins over a class name: `"ppo"` is Stable-Baselines3's, whatever other packages call their classes.

        Raises:
            TypeError: `name` is not a string.
            ValueError: nothing has this name (the message gives the nearest), several classes have it, or the package
                that declares it is broken.
        """
        if not isinstance(name, str):
            raise TypeError(f"Got {name!r} as an algorithm's name, but a string such as 'ppo' is needed; see keys().")
        key = name.lower()
        if key in self._builtin and key in self._plugins:
            self._from_plugin(key)  # says who tried to take the key
        if key in self._own():
            return self._own()[key]
        if key in self._plugins:
            return self._plugins.load(key)
        specs = self.specs()
        of_this_class = [spec for spec in specs if spec.cls.__name__.lower() == key]
        if len(of_this_class) == 1:
            return of_this_class[0]
        if of_this_class:
            keys = ", ".join(spec.key for spec in of_this_class)
            raise ValueError(f"{name!r} is the class name of several algorithms; use one of the keys {keys}.")
        raise ValueError(_unknown(name, [spec.key for spec in specs]))

    def keys(self) -> list[str]:
        """The keys of all algorithms, sorted. Packages that declare algorithms are imported."""
        return [spec.key for spec in self.specs()]

    def specs(self) -> list[AgentSpec]:
        """All algorithms, sorted by key. A broken package is left out with a warning that names it."""
        specs = dict(self._own())
        for key in self._plugins:
            spec = self._from_plugin(key)
            if spec is not None:
                specs[key] = spec
        return [specs[key] for key in sorted(specs)]

    def key_of(self, model_or_class: BaseAlgorithm | type[BaseAlgorithm]) -> str:
        """The key under which exactly this class is known; a subclass is another algorithm.

        Raises:
            TypeError: neither an algorithm nor an algorithm's class.
            ValueError: the class is not registered; the message says how to change that.
        """
        cls = model_or_class if isinstance(model_or_class, type) else type(model_or_class)
        if not issubclass(cls, BaseAlgorithm):
            raise TypeError(
                f"Got {model_or_class!r}, but a model or class derived from SB3's BaseAlgorithm is needed; "
                "pass for example model or type(model)."
            )
        for spec in self._own().values():
            if spec.cls is cls:
                return spec.key
        for spec in self.specs():
            if spec.cls is cls:
                return spec.key
        raise ValueError(
            f"The class {cls.__module__}.{cls.__qualname__} is not registered, and only registered algorithms have a "
            f"key ({', '.join(self.keys())}); register it with agents.registry.register(agents.registry.AgentSpec("
            f"{cls.__name__.lower()!r}, {cls.__name__}, ...)) or by an entry point in the group actorzoo.agents."
        )

    def register(self, spec: AgentSpec) -> None:
        """Add an algorithm for this process.

        Registering the same class again replaces its entry, so a notebook cell can be run twice.

        Raises:
            TypeError: not an AgentSpec.
            ValueError: the key belongs to another class.
        """
        if not isinstance(spec, AgentSpec):
            raise TypeError(f"Got {spec!r}, but register needs an AgentSpec; make one from the class and its key.")
        taken_by = self._own().get(spec.key)
        if taken_by is not None and (spec.key in self._builtin or not _same_class(taken_by.cls, spec.cls)):
            if taken_by == spec:
                return
            raise ValueError(
                f"The key {spec.key!r} belongs to {taken_by.cls.__module__}.{taken_by.cls.__qualname__} already and "
                f"cannot be given to {spec.cls.__module__}.{spec.cls.__qualname__}; choose another key."
            )
        self._registered[spec.key] = spec

    def __iter__(self) -> Iterator[AgentSpec]:
        return iter(self.specs())

    def __len__(self) -> int:
        return len(self.specs())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def _own(self) -> dict[str, AgentSpec]:
        return self._builtin | self._registered

    def _from_plugin(self, key: str) -> AgentSpec | None:
        """A plugin's algorithm; None, after a warning, where it is broken or its key is taken."""
        if key in self._builtin:
            self._warn_once(key, f"The {self._plugins.describe(key)} is left out: {key!r} is a built-in algorithm.")
            return None
        try:
            spec = self._plugins.load(key)
        except PluginError as error:
            self._warn_once(key, str(error))
            return None
        # loading may have called register() with the same algorithm
        taken_by = self._registered.get(key, spec)
        if taken_by.cls is not spec.cls:
            self._warn_once(
                key, f"The {self._plugins.describe(key)} is left out: {key!r} is registered for {taken_by.cls}."
            )
            return None
        return taken_by

    def _warn_once(self, key: str, message: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            warnings.warn(message, stacklevel=4)


def _same_class(one: type, other: type) -> bool:
    """Whether two classes are the same definition, possibly executed twice."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _unknown(name: str, keys: list[str]) -> str:
    nearest = get_close_matches(name.lower(), keys, cutoff=0.5)
    advice = f"the nearest are {', '.join(nearest)}" if nearest else f"there are {', '.join(keys)}"
    return f"Unknown algorithm {name!r}; {advice}."
