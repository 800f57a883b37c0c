"""Models in files: SB3's format plus what it leaves out.

SB3's zip file names neither its class nor the normalization statistics without which a policy sees numbers it was
never trained on. `save` adds both as members of their own, which SB3's loader passes over: `PPO.load` reads the same
file. `load` uses them, and `predict` takes observations as the environment gives them.
"""

from agents.persistence.loading import load
from agents.persistence.prediction import predict
from agents.persistence.saving import save

__all__ = ["load", "predict", "save"]
