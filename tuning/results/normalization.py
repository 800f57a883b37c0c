"""Scores on one scale: 0 is the uniformly random policy, 1 a reference policy of the environment.

Returns of different environments may be averaged only after this. The reference is the environment's own reward
threshold where it has one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tuning.errors import UsageError


class Reference(NamedTuple):
    """The two returns that fix an environment's scale.

    Attributes:
        random: mean return of uniformly random actions.
        reference: return that counts as 1.
    """

    random: float
    reference: float


#: Random: mean of 1000 episodes with uniformly random actions (standard error below 1 % of the scale).
#: Reference: Gymnasium's reward threshold; Pendulum-v1 has none, there SAC's, TD3's and DDPG's published score
#: (-157 to -152, rl-baselines3-zoo's benchmark, rounded).
REFERENCES: Mapping[str, Reference] = {
    "CartPole-v1": Reference(22.2, 475.0),
    "Acrobot-v1": Reference(-499.1, -100.0),
    "Pendulum-v1": Reference(-1231.0, -155.0),
    "MountainCarContinuous-v0": Reference(-33.3, 90.0),
}


def scale_of(env: str, references: Mapping[str, Reference]) -> Reference:
    """The environment's scale.

    Raises:
        UsageError: the environment has none, or one of no extent.
    """
    if env not in references:
        raise UsageError(
            f"{env} has no reference scores, but aggregates over environments need normalized scores "
            f"(known: {', '.join(sorted(references))}); give the returns of a random and of a reference policy"
        )
    scale = Reference(*references[env])
    if scale.random == scale.reference:
        raise UsageError(f"{env}: random and reference score are both {scale.random:g}; give two different returns")
    return scale
