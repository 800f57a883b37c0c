"""Off-PAC: off-policy actor-critic with importance ratios."""

from agents.off_pac.errors import TrainingDivergedError
from agents.off_pac.off_pac import OffPAC

__all__ = ["OffPAC", "TrainingDivergedError"]
