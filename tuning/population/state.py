"""What a population has done and does next: written whole once a generation, so that a kill loses no decision."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tuning import search_space
from tuning.errors import UsageError
from tuning.files import write_json
from tuning.population import evolution
from tuning.population.config import PopulationConfig, Selection
from tuning.population.member import score
from tuning.population.plan import default_point

STATE_FILE = "state.json"
_FORMAT = 1
_BEGIN, _SELECT = 0, 1  # streams of random numbers


@dataclass(frozen=True)
class State:
    """Between two generations.

    Attributes:
        generation: the last one that is complete; 0 before the first.
        plans: [size], for each member of the next generation: `parent` (whose checkpoint it goes on from; None begins)
            and `hyperparams`.
        history: one row for every interval that was trained: generation, member, parent, hyperparams and what
            `train_interval` returned.
    """

    generation: int
    plans: list[dict[str, Any]]
    history: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write state.json, whole or not at all."""
        write_json(folder / STATE_FILE, {"format": _FORMAT, **asdict(self)})

    def last_results(self) -> list[dict[str, Any]]:
        """The rows of the last complete generation, member by member."""
        return [row for row in self.history if row["generation"] == self.generation]


def read_state(config: PopulationConfig, folder: Path) -> State:
    """Where the population is; its beginning where nothing is written yet.

    Raises:
        UsageError: state.json cannot be read.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        return _beginning(config)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data.pop("format") != _FORMAT:
            raise ValueError("another format")
        return State(**data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} cannot be read ({error}); restore it, or remove {folder} to begin anew") from error


def advance(config: PopulationConfig, state: State, results: Sequence[Mapping[str, Any]]) -> State:
    """Select and change: from one complete generation to the plans of the next one.

    Args:
        config: the population.
        state: before the generation.
        results: [size], of `train_interval`; at least one without an error.
    """
    generation = state.generation + 1
    rows = [
        {"generation": generation, "member": member, **plan, **result}
        for member, (plan, result) in enumerate(zip(state.plans, results, strict=True))
    ]
    scores = [score(result) for result in results]
    space = search_space.parse(config.search_space)
    rng = np.random.default_rng([config.seed, _SELECT, generation])
    settings = [plan["hyperparams"] for plan in state.plans]
    plans = []
    if config.selection is Selection.PBT:
        parents = evolution.truncation(scores, config.truncation, rng)
        for member, parent in enumerate(parents):
            own = settings[parent]
            plans.append(own if parent == member else evolution.explore(space, own, config.resample, rng))
    else:
        parents = evolution.tournament(scores, config.tournament_size, config.elitism, rng)
        elite = evolution.ranked(scores)[0] if config.elitism else None
        for member, parent in enumerate(parents):
            own = settings[parent]
            plans.append(own if member == elite else evolution.mutate(space, own, config.mutation, rng))
    following = [{"parent": parent, "hyperparams": plan} for parent, plan in zip(parents, plans, strict=True)]
    return State(generation, following, [*state.history, *rows])


def lineage(state: State, member: int) -> list[dict[str, Any]]:
    """The intervals that made a member of the last generation, from the first one on: its parent's, its grandparent's.

    Args:
        state: after some generation.
        member: of it.
    """
    by_place = {(row["generation"], row["member"]): row for row in state.history}
    rows: list[dict[str, Any]] = []
    place: int | None = member
    for generation in range(state.generation, 0, -1):
        assert place is not None  # only the first generation has no parents
        rows.append(by_place[generation, place])
        place = rows[-1]["parent"]
    return rows[::-1]


def table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row an interval: generation, member, parent, from_step, to_step, return, error, and the hyperparameters."""
    names = ("generation", "member", "parent", "from_step", "to_step")
    return pd.DataFrame(
        [
            {name: row[name] for name in names}
            | {"return": score(row) if row["error"] is None else None, "error": row["error"]}
            | dict(row["hyperparams"])
            for row in rows
        ]
    ).astype({"parent": "Int64", "return": float})


def _beginning(config: PopulationConfig) -> State:
    """The first member has the configured settings, as near as the search space allows; the others are drawn."""
    space = search_space.parse(config.search_space)
    rng = np.random.default_rng([config.seed, _BEGIN])
    drawn = [evolution.sample(space, rng) for _ in range(config.size)]
    drawn[0] = evolution.settled(space, default_point(config), rng)
    return State(0, [{"parent": None, "hyperparams": values} for values in drawn])
