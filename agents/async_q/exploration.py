"""How much a worker explores.

Every worker anneals epsilon from a common start to a final value of its own, which it draws from a distribution: that
several degrees of exploration run side by side is part of the method (Mnih et al. 2016, section 5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

FinalEpsilon = float | Mapping[float, float]

_PAPERS_CHOICE = "the paper's is {0.1: 0.4, 0.01: 0.3, 0.5: 0.3}"


def checked_final_epsilon(final: FinalEpsilon) -> float | dict[float, float]:
    """A probability, or a distribution over probabilities, as plain floats.

    Args:
        final: a number, or {value: probability}; values may be strings, as a mapping's keys are in JSON (and so in a
            model's file).

    Raises:
        ValueError: neither, a value outside [0, 1], or probabilities that do not sum to 1.
    """
    try:
        if isinstance(final, str):
            raise TypeError("a text is no number")
        values = {float(v): float(p) for v, p in final.items()} if isinstance(final, Mapping) else {float(final): 1.0}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"exploration_final_eps={final!r}, but it must be a number in [0, 1], or {{value: probability}}; "
            f"{_PAPERS_CHOICE}."
        ) from error
    if not values or any(not 0.0 <= value <= 1.0 for value in values):
        raise ValueError(f"exploration_final_eps={final!r}, but every value must lie in [0, 1]; {_PAPERS_CHOICE}.")
    if any(not p >= 0.0 for p in values.values()) or not math.isclose(sum(values.values()), 1.0, abs_tol=1e-6):
        raise ValueError(
            f"exploration_final_eps={final!r}, but its probabilities must be positive and sum to 1; they sum to "
            f"{sum(values.values())}."
        )
    return values if isinstance(final, Mapping) else float(final)


def draw_final_epsilons(final: FinalEpsilon, n_workers: int, seed: np.random.SeedSequence) -> tuple[float, ...]:
    """One final epsilon a worker."""
    if not isinstance(final, Mapping):
        return (float(final),) * n_workers
    values, probabilities = np.array(list(final)), np.array(list(final.values()))
    drawn = np.random.default_rng(seed).choice(values, size=n_workers, p=probabilities / probabilities.sum())
    return tuple(drawn.tolist())


def are_drawn_from(final: FinalEpsilon, epsilons: Sequence[float], n_workers: int) -> bool:
    """Whether these may be the final epsilons of so many workers, so that they need not be drawn again."""
    possible = {value for value, p in final.items() if p > 0.0} if isinstance(final, Mapping) else {float(final)}
    return len(epsilons) == n_workers and possible.issuperset(epsilons)


def epsilon(initial: float, final: float, fraction: float, progress: float) -> float:
    """Linear from ``initial`` to ``final`` over the first ``fraction`` of the run.

    Args:
        initial: at progress 0.
        final: from progress ``fraction`` on.
        fraction: share of the run's global steps, in [0, 1]; 0 is ``final`` at once.
        progress: share of the run's global steps done, in [0, 1].
    """
    if progress >= fraction:
        return final
    return initial + progress / fraction * (final - initial)


def mean_epsilon(initial: float, finals: Sequence[float], fraction: float, progress: float) -> float:
    """Mean of the workers' epsilons, each annealed to its own final value."""
    return sum(epsilon(initial, final, fraction, progress) for final in finals) / len(finals)
