"""Which algorithms exist, what they support, and who wrote the paper.

    registry.get("ppo").cls is stable_baselines3.PPO       keys and class names, in any case
    registry.keys(), registry.specs()                       sorted; `for spec in registry` as well
    registry.key_of(model)                                  the key of a model's class
    registry.register(AgentSpec(...))                       for this process

Other packages add theirs for every process through the entry-point group `actorzoo.agents`; see
`agents.registry.plugins`.
"""

import sys
from collections.abc import Iterator
from types import ModuleType

from agents.registry.builtin import BUILTIN_SPECS
from agents.registry.lookup import Registry
from agents.registry.plugins import Plugins
from agents.registry.spec import AgentSpec

__all__ = ["AgentSpec", "get", "key_of", "keys", "register", "specs"]

_registry = Registry(BUILTIN_SPECS, Plugins())

get = _registry.get
key_of = _registry.key_of
keys = _registry.keys
register = _registry.register
specs = _registry.specs


class _IterableModule(ModuleType):
    """Lets the module itself be read as the collection it is: `for spec in registry`, `"ppo" in registry`."""

    def __iter__(self) -> Iterator[AgentSpec]:
        return iter(_registry)

    def __len__(self) -> int:
        return len(_registry)

    def __contains__(self, key: object) -> bool:
        return key in _registry


sys.modules[__name__].__class__ = _IterableModule
