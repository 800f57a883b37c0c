"""Off-PAC: off-policy actor-critic with importance ratios. Importing it registers the environments of its paper."""

import agents.environments  # noqa: F401 - registers actorzoo/...-v0 with Gymnasium
from agents.off_pac.off_pac import OffPAC
from agents.online.errors import TrainingDivergedError

__all__ = ["OffPAC", "TrainingDivergedError"]
