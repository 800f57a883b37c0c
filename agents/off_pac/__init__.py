"""Off-PAC: off-policy actor-critic with importance ratios. Importing it registers the environments of its paper."""

import agents.environments  # noqa: F401 - registers actorzoo/...-v0 with Gymnasium
from agents.off_pac.errors import TrainingDivergedError
from agents.off_pac.off_pac import OffPAC

__all__ = ["OffPAC", "TrainingDivergedError"]
