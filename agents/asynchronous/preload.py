"""What the worker server imports once, so that a worker starts in milliseconds with all of it already in memory.

That includes the algorithms: a worker that imported them itself would need five times as long to start.
"""

# ruff: noqa: F401

import gc

import gymnasium.envs.classic_control
import stable_baselines3.common.monitor
import stable_baselines3.common.policies
import stable_baselines3.common.vec_env
import torch.utils.serialization

import agents.a3c
import agents.async_q
import agents.asynchronous.copies
import agents.asynchronous.worker

# Objects made until now are never garbage: leaving them out of collections keeps their pages shared after the fork.
gc.collect()
gc.freeze()
