"""`tuning.train_population`: generation after generation, then the winner, its schedule and its model."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import agents
from tuning import results as tables
from tuning.errors import TrainingFailed, UsageError
from tuning.evaluation import Evaluator
from tuning.files import whole_file, write_yaml
from tuning.population import evolution
from tuning.population.config import PopulationConfig, open_folder
from tuning.population.member import MODEL, Interval, score
from tuning.population.plan import plan_population
from tuning.population.state import State, advance, lineage, read_state, table
from tuning.population.workers import train_all
from tuning.progress import Reporter, reporter
from tuning.runs import DEFAULT_RUNS_DIR
from tuning.seeds import derived_seed

# streams of seeds, see tuning.seeds
_TRAINING, _EVALUATION, _FINAL = 1, 2, 3


@dataclass(frozen=True)
class Population:
    """What a population has found.

    Attributes:
        config: the population.
        folder: where it lies.
        evaluations: one row an interval of a member: generation, member, parent, from_step, to_step, return, error, and
            a column for each hyperparameter.
        schedule: the rows of `evaluations` that made the winner: its settings by steps.
        schedule_file: the same as YAML, equal neighbors joined.
        winner: the member with the best evaluation at the end.
        model_file: its model, for `agents.load`.
        final_return: mean return of the winner in an evaluation of its own. The best of many noisy evaluations, by
            which it was chosen, says too much.
    """

    config: PopulationConfig
    folder: Path
    evaluations: pd.DataFrame
    schedule: pd.DataFrame
    schedule_file: Path
    winner: int
    model_file: Path
    final_return: float


def train_population(
    algo: str | None = None,
    env_id: str | None = None,
    *,
    runs_dir: str | os.PathLike[str] = DEFAULT_RUNS_DIR,
    n_jobs: int = 1,
    progress: bool = True,
    **settings: Any,
) -> Population:
    """Train a population whose members copy the best ones and change their hyperparameters while they train.

    The same call continues a population that was interrupted or killed; with synchronous algorithms the result is that
    of a population that was not, whatever `n_jobs` is.

    Args:
        algo: registry key or class name.
        env_id: environment.
        runs_dir: the population lies in `populations/<name>` below it.
        n_jobs: processes that train members side by side.
        progress: show a bar on a terminal, a line now and then elsewhere.
        **settings: method ("pbt", "evolve"), population_size (8), interval (environment steps; a 20th of the run),
            space and space_file (as for `tuning.tune`), hyperparams, config, n_timesteps (of each member),
            eval_episodes, seed, name (derived from the settings); truncation (0.2), resample (0.25: Jaderberg et al.
            2017); tournament_size (2), elitism (True), mutation (0.5); other keys of `tuning.config.RunConfig`.

    Returns:
        Tables, schedule, and the winner's model.

    Raises:
        UsageError: something in the settings is wrong, or another process works on the population.
        TrainingFailed: all members failed in one generation.
    """
    if n_jobs < 1:
        raise UsageError(f"n_jobs is {n_jobs}, but at least one process must train the population")
    config = plan_population(algo, env_id, **settings)
    folder = open_folder(config, runs_dir)
    shown = reporter(f"{config.base.algo} {config.name}", config.size * config.base.n_timesteps, progress)
    with _alone(folder):
        with shown:
            state = _run(config, folder, n_jobs, shown)
        return _conclude(config, folder, state)


def _run(config: PopulationConfig, folder: Path, n_jobs: int, shown: Reporter) -> State:
    state = read_state(config, folder)
    steps = config.size * config.target(state.generation)
    seconds = sum(row["train_seconds"] for row in state.history)

    def done(member: int, result: Mapping[str, Any]) -> None:
        nonlocal steps, seconds
        steps += max(0, result["to_step"] - result["from_step"])
        seconds += result["train_seconds"]
        if result["error"] is None:
            shown.episode(score(result))
        shown.update(steps, seconds)

    while state.generation < config.generations:
        generation = state.generation + 1
        results = train_all(_intervals(config, folder, state), n_jobs, done)
        errors = [result["error"] for result in results]
        if all(error is not None for error in errors):
            raise TrainingFailed(
                f"all {config.size} members failed in generation {generation}, the first one with: {errors[0]} "
                f"(tracebacks in {_checkpoint(folder, generation, 0).parent})"
            )
        state = advance(config, state, results)
        state.write(folder)
        shutil.rmtree(folder / "checkpoints" / str(generation - 1), ignore_errors=True)
    return state


def _intervals(config: PopulationConfig, folder: Path, state: State) -> list[Interval]:
    generation = state.generation + 1
    return [
        Interval(
            base=config.base,
            hyperparams=plan["hyperparams"],
            seed=derived_seed(config.seed, _TRAINING, generation, member),
            evaluation_seed=derived_seed(config.seed, _EVALUATION, generation),
            target=config.target(generation),
            source=None if plan["parent"] is None else _checkpoint(folder, state.generation, plan["parent"]),
            folder=_checkpoint(folder, generation, member),
        )
        for member, plan in enumerate(state.plans)
    ]


def _checkpoint(folder: Path, generation: int, member: int) -> Path:
    return folder / "checkpoints" / str(generation) / str(member)


def _conclude(config: PopulationConfig, folder: Path, state: State) -> Population:
    winner = evolution.ranked([score(row) for row in state.last_results()])[0]
    line = lineage(state, winner)
    model_file = folder / "models" / "final.zip"
    with whole_file(model_file) as temporary:
        shutil.copyfile(_checkpoint(folder, state.generation, winner) / MODEL, temporary)
    evaluations, schedule = table(state.history), table(line)
    tables.to_file(evaluations, "csv", folder / "evaluations.csv")
    tables.to_file(schedule, "csv", folder / "schedule.csv")
    schedule_file = folder / "schedule.yml"
    final_return = _final_return(config, model_file)
    heading = f"Settings by environment steps of the winner, member {winner}, which scores {final_return:g}."
    write_yaml(schedule_file, {"algo": config.base.algo, "env": config.base.env, "schedule": joined(line)}, heading)
    return Population(config, folder, evaluations, schedule, schedule_file, winner, model_file, final_return)


def joined(line: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A lineage as from_step, to_step, hyperparams; intervals with the same settings in a row become one."""
    parts: list[dict[str, Any]] = []
    for row in line:
        if parts and parts[-1]["hyperparams"] == row["hyperparams"]:
            parts[-1]["to_step"] = row["to_step"]
        else:
            parts.append({name: row[name] for name in ("from_step", "to_step", "hyperparams")})
    return parts


def _final_return(config: PopulationConfig, model_file: Path) -> float:
    evaluator = Evaluator(config.base.model_copy(update={"seed": derived_seed(config.seed, _FINAL)}))
    try:
        episodes = evaluator(agents.load(model_file, device=config.base.device))
    finally:
        evaluator.close()
    return sum(episode.value for episode in episodes) / len(episodes)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep every other process off the folder; the lock goes with its process, however that ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another process works on {folder}; wait for it, or end it") from error
        yield
