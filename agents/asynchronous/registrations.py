"""Environments that the calling process has registered, for workers that have not.

A worker imports neither the caller's main module nor the packages that it imported (``ale_py``, a module of one's own)
and so would know no id but Gymnasium's. All registrations travel, Gymnasium's own as well: one of them may have been
changed, and all together are small (a millisecond at four hundred).
"""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import cloudpickle
import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

Registrations = dict[str, EnvSpec]


def registrations() -> bytes:
    """Pickled registrations; what cannot be pickled is left out: workers know it only where Gymnasium brings it."""
    found = {name: portable(spec) for name, spec in gym.registry.items()}
    try:
        return cloudpickle.dumps(found)
    except Exception:  # noqa: BLE001 - arguments of any kind may refuse, in any way
        return cloudpickle.dumps({name: spec for name, spec in found.items() if _travels(spec)})


def register_all(pickled: bytes) -> None:
    """Make another process's registrations known here."""
    # a package that registers when it is imported will do so here again; the caller saw any true conflict
    warnings.filterwarnings("ignore", message=r".*Overriding environment .* already in registry")
    # bytes from our own calling process, as everything a worker is told
    gym.registry.update(pickle.loads(pickled))  # noqa: S301


def portable(spec: EnvSpec) -> EnvSpec:
    """With the class itself where it is named by the main module, which means another module in a worker."""
    if isinstance(spec.entry_point, str) and spec.entry_point.startswith("__main__:"):
        found: Any = load_env_creator(spec.entry_point)
        spec = copy.copy(spec)
        spec.entry_point = found
    return spec


def _travels(spec: EnvSpec) -> bool:
    try:
        cloudpickle.dumps(spec)
    except Exception:  # noqa: BLE001 - see above
        return False
    return True
