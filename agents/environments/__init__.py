"""The environments of Degris, White and Sutton (2012), registered with Gymnasium when this package is imported.

* ``actorzoo/DegrisMountainCar-v0``
* ``actorzoo/DegrisPendulum-v0``
* ``actorzoo/ContinuousGridWorld-v0``

All end after 5000 steps by truncation, as in the paper's experiments. The classes themselves are imported at first use.
"""

import gymnasium as gym

MAX_EPISODE_STEPS = 5000

_ENTRY_POINTS = {
    "actorzoo/DegrisMountainCar-v0": "agents.environments.mountain_car:DegrisMountainCar",
    "actorzoo/DegrisPendulum-v0": "agents.environments.pendulum:DegrisPendulum",
    "actorzoo/ContinuousGridWorld-v0": "agents.environments.grid_world:ContinuousGridWorld",
}


def register_environments() -> None:
    """Register the three environments; those that are registered already stay as they are."""
    for env_id, entry_point in _ENTRY_POINTS.items():
        if env_id not in gym.registry:
            # The passive checker costs more than a step of these environments; they pass check_env instead.
            gym.register(env_id, entry_point=entry_point, max_episode_steps=MAX_EPISODE_STEPS, disable_env_checker=True)


register_environments()
