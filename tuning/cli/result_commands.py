"""The commands around many runs: compare, results, plot."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options import Continuable, given_command, parse_pairs
from tuning.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from tuning.compare import Comparison
    from tuning.results import Reference

RunsDir = Annotated[Path, typer.Argument(metavar="[DIR]", help="A folder with runs anywhere below it.")]
Threshold = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ENV=RETURN",
        help="Reward threshold of an environment that has none, such as Pendulum-v1=-250; repeatable.",
    ),
]
ImportModules = Annotated[
    list[str] | None,
    typer.Option("--import-module", help="A module that registers environments, imported first; repeatable."),
]


class TableName(StrEnum):
    """The tables that can be made of a folder of runs."""

    SUMMARY = "summary"
    RUNS = "runs"
    LONG = "long"
    PAIRWISE = "pairwise"
    AGGREGATE = "aggregate"


class XAxis(StrEnum):
    """What a learning curve can be drawn over."""

    STEPS = "steps"
    SECONDS = "seconds"


class Center(StrEnum):
    """What a line can be of several runs."""

    IQM = "iqm"
    MEAN = "mean"


def register(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
    app.command("compare", cls=Continuable)(compare)
    app.command("results")(results)
    app.command("plot")(plot)


def compare(
    ctx: typer.Context,
    algo: Annotated[list[str], typer.Option(help="An algorithm; repeat it to compare several.")],
    env: Annotated[list[str], typer.Option(help="An environment; repeatable.")],
    seeds: Annotated[int, typer.Option(help="Runs of each algorithm in each environment.", min=1)] = 5,
    first_seed: Annotated[int, typer.Option(help="Seeds are counted from here.", min=0)] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Runs at the same time; by default as many as there are cores for, an asynchronous one counting as "
            "its workers.",
            min=1,
        ),
    ] = None,
    n_timesteps: Annotated[
        int | None, typer.Option(help="Environment steps of every run; as configured by default.", min=1)
    ] = None,
    hyperparams: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY:VALUE ...",
            help="Over the configured ones, for every algorithm; a3c.n_workers:2 is for A3C alone. Also other keys of "
            "a run: n_envs:8 eval_episodes:20.",
        ),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run folders lie.")] = Path("runs"),
    import_module: ImportModules = None,
    progress: Annotated[bool, typer.Option(help="Show bars on a terminal, a line now and then elsewhere.")] = True,
) -> int:
    """Train several algorithms with several seeds, each run in a process of its own, and compare them.

    Runs that have finished are kept when the same command is given again; failed and interrupted ones are trained
    again. A run that crashes leaves the others alone and is in the table as failed; the exit code is then 1.

    For example:

        actorzoo compare --algo a3c --algo a2c --env CartPole-v1 --seeds 5
        actorzoo compare --algo ppo --algo sac --env Pendulum-v1 --seeds 10 --n-timesteps 50000 --jobs 4
    """
    from tuning import compare as comparing

    bars_or_lines = comparing.Bars if sys.stderr.isatty() else comparing.Lines
    comparison = comparing.compare(
        algo,
        env,
        range(first_seed, first_seed + seeds),
        n_timesteps=n_timesteps,
        hyperparams=parse_pairs(hyperparams),
        jobs=jobs,
        runs_dir=runs_dir,
        import_modules=import_module or (),
        display=bars_or_lines if progress else comparing.quiet,
        command=given_command(ctx),
    )
    _print_comparison(comparison)
    return 1 if comparison.failed else 0


def results(
    runs_dir: RunsDir = Path("runs"),
    table: Annotated[TableName, typer.Option(help="What to show: algorithms, runs, all measurements, ...")] = (
        TableName.SUMMARY
    ),
    fmt: Annotated[
        str | None,
        typer.Option(
            "--format", help="csv, parquet, json, markdown, latex or html; by default what --output ends with."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file to write instead of the terminal.")] = None,
    threshold: Threshold = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENV=RANDOM,REFERENCE",
            help="For --table aggregate: returns of a random and of a reference policy; repeatable.",
        ),
    ] = None,
) -> None:
    """Summarize the runs in a folder, on the terminal or into a file.

    Runs of one algorithm with different settings are different variants, in rows of their own.

    For example:

        actorzoo results
        actorzoo results runs/a3c --table runs
        actorzoo results --output results.tex
        actorzoo results --table long --format parquet --output runs.parquet
    """
    from tuning import results as tables
    from tuning.cli.tables import print_summary, print_table, print_text
    from tuning.results.formats import SUFFIXES

    if output is not None and fmt in SUFFIXES.values() and SUFFIXES.get(output.suffix.lower(), fmt) != fmt:
        raise UsageError(
            f"--format {fmt}, but --output {output} ends as {SUFFIXES[output.suffix.lower()]}; keep one of them"
        )
    long = _load(runs_dir, threshold)
    shown = {
        TableName.SUMMARY: tables.summary,
        TableName.RUNS: tables.runs,
        TableName.LONG: lambda frame: frame,
        TableName.PAIRWISE: tables.pairwise,
        TableName.AGGREGATE: lambda frame: tables.aggregate(frame, _references(reference)),
    }[table](long)
    if output is not None:
        tables.to_file(shown, fmt, output)
        typer.echo(output)
    elif fmt is not None:
        content = tables.render(shown, fmt)
        if isinstance(content, bytes):
            raise UsageError(f"{fmt} is no text for a terminal; give a file with --output")
        typer.echo(content, nl=False)
    elif table is TableName.SUMMARY:
        print_summary(shown)
    else:
        print_table(shown)
        if table is TableName.AGGREGATE:
            print_text(tables.AGGREGATE_CAPTION)
        elif table is TableName.PAIRWISE:
            print_text(tables.IMPROVEMENT_CAPTION)


def plot(
    runs_dir: RunsDir = Path("runs"),
    output: Annotated[Path | None, typer.Option(help="A .png, .svg or .pdf; DIR/curves.png by default.")] = None,
    x: Annotated[XAxis, typer.Option(help="Environment steps, or seconds of training.")] = XAxis.STEPS,
    statistic: Annotated[Center, typer.Option(help="Interquartile mean or mean over runs.")] = Center.IQM,
    threshold: Threshold = None,
) -> None:
    """Draw learning curves with intervals, one panel an environment.

    A line is the middle of an algorithm's runs, the band its 95 % interval.

    For example:

        actorzoo plot
        actorzoo plot runs/a3c --x seconds --output a3c.svg
    """
    from tuning import plots

    path = plots.check_suffix(output or runs_dir / "curves.png")
    plots.save(plots.learning_curves(_load(runs_dir, threshold), x.value, statistic.value), path)
    typer.echo(path)


def _load(runs_dir: Path, thresholds: Sequence[str] | None) -> "pd.DataFrame":
    from tuning.results import load

    given = {env: _number(text, "--threshold") for env, text in _assignments(thresholds, "--threshold")}
    long = load(runs_dir, given)
    if not len(long):
        raise UsageError(f"there are no runs in {runs_dir}; make one with actorzoo train or actorzoo compare")
    return long


def _references(texts: Sequence[str] | None) -> "dict[str, Reference]":
    from tuning.results import Reference

    option, references = "--reference", {}
    for env, text in _assignments(texts, option):
        random, comma, reference = text.partition(",")
        if not comma:
            raise UsageError(f"{option} {env}={text}: it takes two returns, such as {env}=-200,250")
        references[env] = Reference(_number(random, option), _number(reference, option))
    return references


def _assignments(texts: Sequence[str] | None, option: str) -> list[tuple[str, str]]:
    """`["Pendulum-v1=-250"]` -> `[("Pendulum-v1", "-250")]`."""
    pairs = []
    for text in texts or ():
        env, equals, value = text.partition("=")
        if not equals or not env:
            raise UsageError(
                f"{option} got {text!r}, but it takes an environment and a return, such as Pendulum-v1=-250"
            )
        pairs.append((env, value))
    return pairs


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{option} got {text!r}, but a return is a number, such as -250") from error


def _print_comparison(comparison: "Comparison") -> None:
    """The summary, who improves on whom, what failed, and where everything lies."""
    from tuning.cli.tables import print_summary, print_table, print_text
    from tuning.compare import ending
    from tuning.results import IMPROVEMENT_CAPTION, pairwise, summary

    print_summary(summary(comparison.long), " ".join(comparison.notes))
    pairs = pairwise(comparison.long)
    if len(pairs):
        print_table(pairs, "Probability of improvement")
        print_text(IMPROVEMENT_CAPTION)
    for outcome in comparison.failed:
        typer.echo(ending(outcome))
    files = comparison.files
    for path in (files.report, files.curves, files.summary, files.runs, files.pairwise):
        if path.is_file():
            typer.echo(path)
