"""Seeds that follow from a run's seed and never meet it."""

import numpy as np

# gymnasium takes any seed, but much else stops at 32 bits; room is left for environments that count up from a seed
_ROOM = 2**16
FIRST_EVALUATION_SEED = 2**31


def derived_seed(seed: int, *stream: int) -> int:
    """A seed below 2**31 for one purpose of a run.

    Args:
        seed: the run's.
        stream: what it is for; other numbers give other seeds.
    """
    return int(np.random.default_rng([seed, *stream]).integers(2**31 - _ROOM))


def evaluation_seed(seed: int, *stream: int) -> int:
    """A seed for evaluation environments: at least 2**31, where no training seed lies."""
    return FIRST_EVALUATION_SEED + derived_seed(seed, *stream)
