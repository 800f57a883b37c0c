"""What `actorzoo tune --method pbt` and `--method evolve` do and print."""

from collections.abc import Mapping
from typing import Any

import typer

from tuning.errors import UsageError


def tune_population(
    method: str, algo: str | None, env: str | None, refused: Mapping[str, Any], **settings: Any
) -> None:
    """Train a population; print its last generation, the winner's schedule, and where everything lies.

    Args:
        method: pbt or evolve.
        algo: registry key or class name.
        env: environment.
        refused: options that mean something to searches only, by name; they must be None.
        **settings: as for `tuning.train_population`.

    Raises:
        UsageError: an option of searches was given, or something else is wrong.
    """
    from tuning.cli.tables import print_table
    from tuning.population.training import train_population

    for name, value in refused.items():
        if value is not None:
            raise UsageError(f"--{name} belongs to --method search; leave it out, or leave out --method {method}")
    population = train_population(algo, env, method=method, **settings)
    for name, reason in population.config.fixed.items():
        typer.echo(f"{name} {reason}: it stays as configured.")
    last = population.evaluations
    last = last[last["generation"] == population.config.generations]
    print_table(last.drop(columns=["generation", "error"]), "The last generation")
    print_table(population.schedule.drop(columns=["error", "parent"]), "The winner's schedule")
    typer.echo(
        f"The winner is member {population.winner}; its model scores {population.final_return:g} in an evaluation of "
        "its own."
    )
    for path in (population.folder, population.schedule_file, population.model_file):
        typer.echo(path)
