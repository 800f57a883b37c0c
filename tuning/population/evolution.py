"""Who copies whom, and what becomes of the hyperparameters; pure functions of scores and a random generator.

Population-based training (Jaderberg et al. 2017, "Population Based Training of Neural Networks", §4.1.1 and app. A):
truncation selection, then each hyperparameter of those that copied is perturbed by a factor of 0.8 or 1.2, or drawn
anew. The evolutionary search is AgileRL's: tournaments with elitism, then a mutation of one hyperparameter.

A failed member has the score -inf: nobody copies it, and it always copies somebody.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna

from tuning.search_space import Dimension, SearchSpace
from tuning.search_space.dimensions import Categorical, PowerOfTwo

FACTORS = (0.8, 1.2)


def ranked(scores: Sequence[float]) -> list[int]:
    """Members from the best to the worst; of equal ones the one with the lower number first."""
    return sorted(range(len(scores)), key=lambda member: (-scores[member], member))


def truncation(scores: Sequence[float], fraction: float, rng: np.random.Generator) -> list[int]:
    """Whose checkpoint each member goes on from: the worst copy one of the best, the others stay themselves.

    Args:
        scores: [n], the larger the better; at least one is no failure.
        fraction: of the population that copies, and that is copied; rounded down, at least one member.
        rng: chooses among the best, uniformly.

    Returns:
        [n], parents. A member as good as the one it would copy stays itself; a failed one copies in any case.
    """
    count = max(1, int(fraction * len(scores) + 1e-9))
    order = ranked(scores)
    best = [member for member in order[:count] if scores[member] > -math.inf]
    worst = set(order[-count:]) | {member for member in order if scores[member] == -math.inf}
    parents = list(range(len(scores)))
    for member in sorted(worst):
        source = best[int(rng.integers(len(best)))]
        if scores[source] > scores[member]:
            parents[member] = source
    return parents


def tournament(scores: Sequence[float], size: int, elitism: bool, rng: np.random.Generator) -> list[int]:
    """Whose checkpoint each place of the next population goes on from.

    Args:
        scores: [n], the larger the better; at least one is no failure.
        size: so many members, drawn with replacement, compete for each place; the best one wins.
        elitism: the best member of all keeps its own place.
        rng: draws.

    Returns:
        [n], parents. A tournament of failures only is won by the best member of all.
    """
    order = ranked(scores)
    rank = {member: place for place, member in enumerate(order)}
    parents = []
    for place in range(len(scores)):
        drawn = [int(member) for member in rng.integers(len(scores), size=size)]
        winner = min(drawn, key=rank.__getitem__)
        if scores[winner] == -math.inf or (elitism and place == order[0]):
            winner = order[0]
        parents.append(winner)
    return parents


def perturb(dimension: Dimension, value: Any, factor: float) -> Any:
    """The value times a factor, on the dimension's own scale, inside its range.

    A whole number moves by one step at least, a power of two to its neighbor (their factors are 1/2 and 2), of a
    `one_minus` it is the distance from 1 that is multiplied. A categorical value has no neighbors and stays.

    Args:
        dimension: of the value.
        value: as it stands in a configuration.
        factor: below 1 or above it.
    """
    parameter = dimension.encode(value)
    if isinstance(dimension, Categorical) or parameter is None:
        return value
    distribution = dimension.distribution()
    if isinstance(distribution, optuna.distributions.IntDistribution):
        # 5 * 1.2 = 6, and -5 * 1.2 = -6; 1 * 1.2 rounds to 1, from where no factor would ever lead away
        way = (1 if factor > 1 else -1) * (1 if parameter >= 0 else -1) * distribution.step
        moved = parameter + way
        if not isinstance(dimension, PowerOfTwo):
            moved = (max if way > 0 else min)(moved, round(parameter * factor))
    else:
        assert isinstance(distribution, optuna.distributions.FloatDistribution)
        moved = parameter * factor
    inside = min(max(moved, distribution.low), distribution.high)
    # once more through the dimension, which knows its steps
    return dimension.decode(dimension.encode(dimension.decode(inside)))


def draw(dimension: Dimension, rng: np.random.Generator) -> Any:
    """A value from the whole range, uniformly on the dimension's scale."""
    distribution = dimension.distribution()
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return dimension.decode(distribution.choices[int(rng.integers(len(distribution.choices)))])
    assert isinstance(distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    whole = isinstance(distribution, optuna.distributions.IntDistribution)
    if distribution.step is not None and not distribution.log:
        count = round((high - low) / distribution.step) + 1
        parameter = distribution.low + distribution.step * int(rng.integers(count))
    elif distribution.log:
        half = 0.5 if whole else 0.0  # so that the ends of whole numbers are as likely as their neighbors
        parameter = math.exp(rng.uniform(math.log(low - half), math.log(high + half)))
    else:
        parameter = rng.uniform(low, high)
    parameter = min(max(round(parameter) if whole else parameter, distribution.low), distribution.high)
    return dimension.decode(parameter)


def sample(space: SearchSpace, rng: np.random.Generator) -> dict[str, Any]:
    """A point of the space: every dimension that exists there, drawn from its range."""
    return explore(space, {}, 0.0, rng)


def explore(space: SearchSpace, values: Mapping[str, Any], resample: float, rng: np.random.Generator) -> dict[str, Any]:
    """Change every hyperparameter: drawn anew with some probability, else perturbed.

    Args:
        space: what may change, and inside of which range.
        values: of the member that was copied, by dotted name; what is missing and exists now is drawn.
        resample: probability of being drawn from the whole range.
        rng: draws and chooses.
    """
    changed: dict[str, Any] = {}
    for name, dimension in space.dimensions.items():
        if not space.exists(dimension, changed):
            continue
        if name not in values or rng.random() < resample:
            changed[name] = draw(dimension, rng)
        else:
            changed[name] = perturb(dimension, values[name], FACTORS[int(rng.integers(2))])
    return changed


def mutate(
    space: SearchSpace, values: Mapping[str, Any], probability: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Change one hyperparameter, or none.

    Args:
        space: what may change, and inside of which range.
        values: of the tournament's winner, by dotted name.
        probability: of a mutation. It perturbs a hyperparameter that is chosen uniformly; a categorical one is drawn.
        rng: draws and chooses.
    """
    if rng.random() >= probability or not values:
        return dict(values)
    chosen = sorted(values)[int(rng.integers(len(values)))]
    dimension = space.dimensions[chosen]
    if isinstance(dimension, Categorical):
        changed = draw(dimension, rng)
    else:
        changed = perturb(dimension, values[chosen], FACTORS[int(rng.integers(2))])
    return settled(space, {**values, chosen: changed}, rng)


def settled(space: SearchSpace, values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Values of the dimensions that exist with them: what does not exist goes, what is missing is drawn."""
    found: dict[str, Any] = {}
    for name, dimension in space.dimensions.items():
        if space.exists(dimension, found):
            found[name] = values[name] if name in values else draw(dimension, rng)
    return found
