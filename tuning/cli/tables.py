"""Tables on the terminal; in a log, as wide as they need to be."""

from collections.abc import Sequence

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuning import results

WIDTH_OF_A_FILE = 240
TEXT_WIDTH = 120
#: Of a summary, in this order; files have the other columns, too.
SHOWN = [
    "algo",
    "variant",
    "n",
    "failures",
    "unfinished",
    "iqm",
    "iqm_low",
    "iqm_high",
    "mean",
    "std",
    "auc",
    "reached",
    "steps_to_threshold",
    "seconds_to_threshold",
    "steps_per_second",
    "n_envs",
    "n_workers",
    "n_timesteps",
]
#: Left out one after the other where the terminal is too narrow.
DISPENSABLE = ["AUC", "std", "mean", "seconds to it", "reached"]


def print_summary(summary: pd.DataFrame, notes: str = "", console: Console | None = None) -> None:
    """Print a summary, one table an environment, and below what its words mean.

    Args:
        summary: of `tuning.results.summary`.
        notes: said after the caption.
        console: stdout by default.
    """
    console = console or stdout()
    for env, group in summary.groupby("env"):
        title, shown = [str(env)], list(SHOWN)
        budgets = group["n_timesteps"].unique()
        if len(budgets) == 1:
            title.append(f"{budgets[0]:,} steps")
            shown.remove("n_timesteps")
        threshold = group["reward_threshold"].iloc[0]
        if pd.notna(threshold):
            title.append(f"reward threshold {threshold:g}")
        else:
            title.append("no reward threshold")
            shown = [name for name in shown if name != "reached" and not name.endswith("_to_threshold")]
        print_table(group[shown], ", ".join(title), console, DISPENSABLE)
    print_text(f"{results.CAPTION} {notes}".strip(), console)


def print_table(
    table: pd.DataFrame, title: str = "", console: Console | None = None, dispensable: Sequence[str] = ()
) -> None:
    """Print any table.

    Args:
        table: any of `tuning.results`' tables, or a part of one.
        title: above it.
        console: stdout by default.
        dispensable: headings of columns that are left out, in this order, until the table is narrow enough.
    """
    console = console or stdout()
    readable = results.readable(table)
    shown = _table(readable, title)
    for heading in dispensable:
        if console.measure(shown, options=console.options.update(width=WIDTH_OF_A_FILE)).maximum <= console.width:
            break
        readable = _without(readable, heading)
        shown = _table(readable, title)
    console.print(shown, highlight=False)


def print_text(text: str, console: Console | None = None) -> None:
    """Print what belongs to a table in lines short enough to be read.

    Args:
        text: as it is, without markup.
        console: stdout by default.
    """
    console = console or stdout()
    console.print(text, style="dim", highlight=False, markup=False, width=min(TEXT_WIDTH, console.width))


def stdout() -> Console:
    """The terminal; or a file, which has no width into which a table would have to be folded."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    return console


def _table(readable: results.Readable, title: str) -> Table:
    cells, bold, numeric = readable
    shown = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, is_number in zip(cells.columns, numeric, strict=True):
        words = heading if "[" in heading else heading.replace(" ", "\n", 1)
        shown.add_column(
            escape(words),
            justify="right" if is_number else "left",
            vertical="bottom",
            no_wrap=is_number,
            overflow="fold",
        )
    for texts, marks in zip(cells.to_numpy(), bold.to_numpy(), strict=True):
        row = zip(texts, marks, strict=True)
        shown.add_row(*(f"[bold]{escape(text)}[/]" if mark else escape(text) for text, mark in row))
    return shown


def _without(readable: results.Readable, heading: str) -> results.Readable:
    kept = [name != heading for name in readable.cells.columns]
    numeric = [is_number for is_number, stays in zip(readable.numeric, kept, strict=True) if stays]
    return results.Readable(readable.cells.loc[:, kept], readable.bold.loc[:, kept], numeric)
