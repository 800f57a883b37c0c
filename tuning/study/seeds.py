"""The seeds of a study: of its trials, of the race and of the test, no two of them the same.

Settings that are good by luck on the seeds they were chosen on are the reason why tuned settings do not reproduce. So
every stage has seeds of its own: modulo 3 they differ between stages, whatever the study's seed.
"""

from enum import IntEnum

from tuning.seeds import derived_seed


class Stage(IntEnum):
    """For what a seed is used; the seed's remainder modulo 3."""

    TRIALS = 0
    RACE = 1
    TEST = 2


_SAMPLER = 3  # streams beyond the stages', see tuning.seeds


def stage_seeds(seed: int, stage: Stage, n: int) -> list[int]:
    """Seeds of training runs; more of them begin with the same ones.

    Args:
        seed: the study's.
        stage: what they are for.
        n: how many.
    """
    seeds: list[int] = []
    index = 0
    while len(seeds) < n:
        candidate = derived_seed(seed, stage, index)
        index += 1
        candidate = candidate - candidate % len(Stage) + stage
        if candidate not in seeds:
            seeds.append(candidate)
    return seeds


def sampler_seed(seed: int, *stream: int) -> int:
    """A seed for a study's sampler, below 2**31."""
    return derived_seed(seed, _SAMPLER, *stream)
