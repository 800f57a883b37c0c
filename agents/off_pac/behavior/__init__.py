"""Behavior policies: who chooses the actions while Off-PAC learns about another policy."""

from agents.off_pac.behavior.base import Behavior, ContinuousBehavior, ContinuousTarget, DiscreteBehavior
from agents.off_pac.behavior.factory import BehaviorPolicy, make_behavior

__all__ = [
    "Behavior",
    "BehaviorPolicy",
    "ContinuousBehavior",
    "ContinuousTarget",
    "DiscreteBehavior",
    "make_behavior",
]
