"""Options that commands share, how `--hyperparams` takes several values, and how an interrupted command is continued.

Typer's options take one value each; `--hyperparams n_steps:20 gamma:0.9` reads better than the option's name repeated,
so a command declared with `cls=SeveralValues` lets these options be followed by any number of values.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import typer.core

from tuning.errors import UsageError
from tuning.interruption import sigterm_interrupts
from tuning.yaml_files import parse_value

TAKE_SEVERAL = ("--hyperparams",)


class SeveralValues(typer.core.TyperCommand):
    """A command whose options in `TAKE_SEVERAL` may be followed by several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option's name before each of its values, then parse as usual."""
        return super().parse_args(ctx, repeat_options(args))


class Continuable(SeveralValues):
    """A command that goes on where it was interrupted when it is given again; Ctrl-C and SIGTERM say so, with it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what was given, before the parser takes it apart."""
        words = ["actorzoo", str(ctx.info_name), *args]
        ctx.meta[_GIVEN] = shlex.join(_PASSWORD.sub(r"\1***\2", word) for word in words)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with sigterm_interrupts():
                return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            raise KeyboardInterrupt(
                f"{str(interruption) or 'interrupted'}; what has finished is kept, continue with: {given_command(ctx)}"
            ) from interruption


_GIVEN = "tuning.given"
# of a database: what is printed ends up in logs
_PASSWORD = re.compile(r"(://[^/@:\s]*:)[^/\s]+(@)")


def given_command(ctx: Any) -> str:
    """The command line of a `Continuable` command as it was given, quoted for a shell; passwords of URLs are hidden."""
    return str(ctx.meta[_GIVEN])


def repeat_options(arguments: Sequence[str], options: Iterable[str] = TAKE_SEVERAL) -> list[str]:
    """`--hyperparams a:1 b:2` -> `--hyperparams a:1 --hyperparams b:2`; a value is what looks like `key:value`."""
    repeated: list[str] = []
    current: str | None = None
    for argument in arguments:
        if argument in options:
            current = argument
            repeated.append(argument)
        elif current is not None and not argument.startswith("-") and ":" in argument and repeated[-1] != current:
            repeated += [current, argument]
        else:
            if repeated[-1:] != [current]:
                current = None
            repeated.append(argument)
    return repeated


def parse_pairs(texts: Sequence[str] | None, option: str = "--hyperparams") -> dict[str, Any]:
    """`["n_steps:20", "policy_kwargs.net_arch:[64, 64]"]` -> a mapping with values as YAML reads them.

    Raises:
        UsageError: a text without a colon, a key given twice, or a value that is no YAML.
    """
    pairs: dict[str, Any] = {}
    for text in texts or ():
        key, colon, value = text.partition(":")
        if not colon or not key.strip():
            raise UsageError(f"{option} got {text!r}, but it takes key:value, such as n_steps:20")
        if key.strip() in pairs:
            raise UsageError(f"{option} got {key.strip()} twice; keep one of them")
        pairs[key.strip()] = parse_value(value)
    return pairs
