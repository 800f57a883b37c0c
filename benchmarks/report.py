"""What every committed table says about itself: the command, the versions, the class of machine."""

import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "docs" / "results"
DATA = RESULTS / "data"
"""Scores of single runs of long benchmarks, from which their tables are made; a command goes on where its file ends.
Not for seconds: those of another machine would mix with one's own."""


_NOT_MEASURED = ("--output", "--time-limit", "--runs-dir")
"""Where runs are kept and how many are made at a time: the same figures without them."""


def command(module: str) -> str:
    """The command that is running, without what changes no figure."""
    words = ["python -m", module]
    given = iter(sys.argv[1:])
    for word in given:
        name, _, value = word.partition("=")
        if name not in _NOT_MEASURED:
            words.append(word)
        elif not value:
            next(given, None)
    return " ".join(words)


def provenance(command_line: str, packages: Iterable[str] = ()) -> str:
    """A paragraph for below a table; `packages` are those measured beside the usual ones."""
    names = ("torch", "stable_baselines3", "gymnasium", "numpy", *packages)
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"Command: `{command_line.strip()}`. Python {platform.python_version()}, {versions}. Machine: {_processor()}, "
        f"{len(os.sched_getaffinity(0))} cores, {platform.system()}; one thread a process."
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def write(name: str, text: str) -> Path:
    """Write a file of results, whole or not at all."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / name
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    print(f"Written: {os.path.relpath(path)}", file=sys.stderr)
    return path
