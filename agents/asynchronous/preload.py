"""What the worker server imports once, so that a worker starts in milliseconds with all of it already in memory."""

import gc

import gymnasium.envs.classic_control  # noqa: F401
import stable_baselines3.common.monitor
import stable_baselines3.common.policies
import stable_baselines3.common.vec_env  # noqa: F401

import agents.asynchronous.worker  # noqa: F401

# Objects made until now are never garbage: leaving them out of collections keeps their pages shared after the fork.
gc.collect()
gc.freeze()
