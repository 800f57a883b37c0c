"""The commands around many runs: compare, results, plot."""

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
