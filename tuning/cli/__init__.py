"""The `actorzoo` command: its application, and what an error becomes.

Exit codes: 0 success; 1 a failure, with its cause; 2 wrong usage, with one clear line; 130 interrupted. Commands import
what they need when they run, so that `actorzoo --help` does not wait for torch.
"""

import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from agents.errors import MissingExtraError
from tuning.cli import result_commands, run_commands, tune_command
from tuning.errors import TrainingFailed, UsageError


class _Interrupted(Exception):  # noqa: N818 - what happened
    """Ctrl-C, by a name that typer does not take for itself: it would drop the message."""


class _Commands(typer.core.TyperGroup):
    """The commands, with interruptions passed on."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            raise _Interrupted(str(interruption) or "interrupted") from interruption


app = typer.Typer(
    cls=_Commands,
    name="actorzoo",
    help="Train, compare and tune actor-critic agents. Start with: actorzoo train --algo a3c --env CartPole-v1",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
run_commands.register(app)
result_commands.register(app)
tune_command.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"actorzoo {version('actorzoo')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the command itself."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave the process with its exit code.

    Args:
        arguments: the command line without the program's name; `sys.argv[1:]` by default.
    """
    # the installed command, other than `python -m tuning`, looks for no --import-module where the user is
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command in this process.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The exit code: 0, 1, 2 or 130.
    """
    try:
        result = app(args=arguments or ["--help"], prog_name="actorzoo", standalone_mode=False)
    except typer.TyperException as error:  # an unknown option, a missing argument, ...
        return _complain(error.format_message(), error.exit_code)
    except (UsageError, MissingExtraError) as error:
        return _complain(str(error), 2)
    except TrainingFailed as error:
        return _complain(str(error), 1)
    except _Interrupted as interruption:
        # as it is: a command to continue with may hold any number of spaces
        print(f"actorzoo: {interruption}", file=sys.stderr)
        return 130
    return result if isinstance(result, int) else 0


def _complain(message: str, exit_code: int) -> int:
    """One line on stderr."""
    print(f"actorzoo: {' '.join(message.split())}", file=sys.stderr)
    return exit_code
