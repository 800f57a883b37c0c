"""The environments of the papers, registered with Gymnasium when this package is imported.

Of Degris, White and Sutton (2012), "Off-Policy Actor-Critic":

* ``actorzoo/DegrisMountainCar-v0``
* ``actorzoo/DegrisPendulum-v0``
* ``actorzoo/ContinuousGridWorld-v0``

Of Silver et al. (2014), "Deterministic Policy Gradient Algorithms", with Box actions:

* ``actorzoo/ContinuousBandit10-v0``, ``actorzoo/ContinuousBandit25-v0``, ``actorzoo/ContinuousBandit50-v0``
* ``actorzoo/ContinuousMountainCar-v0``
* ``actorzoo/ContinuousPendulum-v0``
* ``actorzoo/ContinuousPuddleWorld-v0``
* ``actorzoo/OctopusArm-v0``

For recurrent policies:

* ``actorzoo/MaskedCartPole-v0``: CartPole-v1 without its velocities

Episodes of the papers' environments end by truncation after 5000 steps, as in their experiments, those of the octopus
arm after 300; the bandit's have one step. The classes themselves are imported at first use.
"""

from typing import Any, NamedTuple

import gymnasium as gym

MAX_EPISODE_STEPS = 5000


class _Entry(NamedTuple):
    entry_point: str
    max_episode_steps: int | None = MAX_EPISODE_STEPS
    kwargs: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    reward_threshold: float | None = None


_ENTRIES = {
    "actorzoo/DegrisMountainCar-v0": _Entry("agents.environments.mountain_car:DegrisMountainCar"),
    "actorzoo/DegrisPendulum-v0": _Entry("agents.environments.pendulum:DegrisPendulum"),
    "actorzoo/ContinuousGridWorld-v0": _Entry("agents.environments.grid_world:ContinuousGridWorld"),
    "actorzoo/ContinuousMountainCar-v0": _Entry("agents.environments.mountain_car:ContinuousMountainCar"),
    "actorzoo/ContinuousPendulum-v0": _Entry("agents.environments.pendulum:ContinuousPendulum"),
    "actorzoo/ContinuousPuddleWorld-v0": _Entry("agents.environments.puddle_world:ContinuousPuddleWorld"),
    "actorzoo/MaskedCartPole-v0": _Entry(
        "agents.environments.masked_cart_pole:MaskedCartPole", 500, reward_threshold=475.0
    ),
    "actorzoo/OctopusArm-v0": _Entry("agents.environments.octopus_arm:OctopusArm", 300),
    **{
        f"actorzoo/ContinuousBandit{n_dims}-v0": _Entry(
            "agents.environments.bandit:ContinuousBandit", None, {"n_dims": n_dims}
        )
        for n_dims in (10, 25, 50)
    },
}


def register_environments() -> None:
    """Register the environments; those that are registered already stay as they are."""
    for env_id, entry in _ENTRIES.items():
        if env_id not in gym.registry:
            # The passive checker costs more than a step of these environments; they pass check_env instead.
            gym.register(
                env_id,
                entry_point=entry.entry_point,
                max_episode_steps=entry.max_episode_steps,
                reward_threshold=entry.reward_threshold,
                disable_env_checker=True,
                kwargs=entry.kwargs,
            )


register_environments()
