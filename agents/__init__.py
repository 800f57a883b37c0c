"""The catalogue: every algorithm by name, and saving, loading and asking any of them.

`agents.PPO is stable_baselines3.PPO`: the classes of Stable-Baselines3 and sb3-contrib are re-exported as they are.
Names are resolved at first use, so that `import agents` itself takes no time: torch alone needs a second.
"""

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from agents import _clash

if TYPE_CHECKING:
    from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
    from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

    from agents import errors, registry
    from agents.a3c import A3C
    from agents.async_q import AsyncNStepQ, AsyncQLearning, AsyncSarsa
    from agents.dpg import DPG
    from agents.off_pac import OffPAC
    from agents.persistence import load, predict, save

_clash.check_import()

__all__ = [
    "A2C",
    "A3C",
    "ARS",
    "DDPG",
    "DPG",
    "DQN",
    "PPO",
    "QRDQN",
    "SAC",
    "TD3",
    "TQC",
    "TRPO",
    "AsyncNStepQ",
    "AsyncQLearning",
    "AsyncSarsa",
    "CrossQ",
    "MaskablePPO",
    "OffPAC",
    "RecurrentPPO",
    "errors",
    "load",
    "predict",
    "registry",
    "save",
]

_MODULE_OF = {
    "A2C": "stable_baselines3",
    "A3C": "agents.a3c",
    "ARS": "sb3_contrib",
    "AsyncNStepQ": "agents.async_q",
    "AsyncQLearning": "agents.async_q",
    "AsyncSarsa": "agents.async_q",
    "CrossQ": "sb3_contrib",
    "DDPG": "stable_baselines3",
    "DPG": "agents.dpg",
    "DQN": "stable_baselines3",
    "MaskablePPO": "sb3_contrib",
    "OffPAC": "agents.off_pac",
    "PPO": "stable_baselines3",
    "QRDQN": "sb3_contrib",
    "RecurrentPPO": "sb3_contrib",
    "SAC": "stable_baselines3",
    "TD3": "stable_baselines3",
    "TQC": "sb3_contrib",
    "TRPO": "sb3_contrib",
    "load": "agents.persistence",
    "predict": "agents.persistence",
    "save": "agents.persistence",
}
_SUBMODULES = ("errors", "registry")


def __getattr__(name: str) -> Any:
    """Import what is asked for, once."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(_unknown(name), name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _unknown(name: str) -> str:
    by_lower_case = {known.lower(): known for known in __all__}
    nearest = [by_lower_case[match] for match in get_close_matches(name.lower(), by_lower_case, cutoff=0.5)]
    if nearest:
        return f"module 'agents' has no attribute {name!r}; the nearest names are {', '.join(nearest)}."
    return f"module 'agents' has no attribute {name!r}; dir(agents) lists what there is."
