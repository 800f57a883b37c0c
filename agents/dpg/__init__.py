"""DPG: deterministic policy gradient with a behavior policy. Importing it registers the environments of its paper."""

import agents.environments  # noqa: F401 - registers actorzoo/...-v0 with Gymnasium
from agents.dpg.dpg import DPG
from agents.online.errors import TrainingDivergedError

__all__ = ["DPG", "TrainingDivergedError"]
