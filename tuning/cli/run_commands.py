"""The commands around one run: list, train, evaluate, watch, resume."""

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
