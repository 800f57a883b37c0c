"""Learning curves with intervals: one panel an environment, one line an algorithm (and variant).

A line is the interquartile mean (or the mean) over training runs of the deterministic evaluations' return, its band the
pointwise 95 % bootstrap interval over runs. The picture says so itself, with n. Runs are interpolated to common steps,
never smoothed and never extrapolated. Colors are those of Okabe and Ito (2008), which the color-blind tell apart; each
line has its own marker, too, for print in gray.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tuning import statistics
from tuning.errors import UsageError
from tuning.files import make_room, whole_file
from tuning.results.per_run import curve, runs
from tuning.results.summaries import summary

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", ">")
SUFFIXES = (".png", ".svg", ".pdf")
N_RESAMPLES = 2_000  # a band's edge has a line's width to hide in; a table's digits do not
DPI = 160
LONGEST_ACRONYM = 6  # a registry key up to here is an acronym (a3c, crossq), a longer one is words

STATISTICS: Mapping[str, tuple[str, Callable[..., np.ndarray]]] = {
    "iqm": ("interquartile mean", statistics.iqm),
    "mean": ("mean", statistics.mean),
}
AXES: Mapping[str, str] = {"steps": "environment steps", "seconds": "seconds of training (evaluation not counted)"}
_POSITION = {"steps": "step", "seconds": "train_seconds"}

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "actorzoo",  # the same runs give the same file
}


class Line(NamedTuple):
    """One algorithm's curve in one environment.

    Attributes:
        x: [n_points], steps or seconds.
        y: [n_points], the statistic over runs.
        low: [n_points], lower edge of its interval; NaN for one run.
        high: [n_points], upper edge.
        n: number of runs.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int


def learning_curves(
    long: pd.DataFrame,
    x: Literal["steps", "seconds"] = "steps",
    statistic: Literal["iqm", "mean"] = "iqm",
) -> Figure:
    """Draw the learning curves of all finished runs.

    Args:
        long: the long table of `tuning.results.load`.
        x: environment steps, or seconds spent on training.
        statistic: interquartile mean or mean over runs.

    Returns:
        A figure of its own; nothing is registered with pyplot.

    Raises:
        UsageError: there is no finished run, or `x` or `statistic` is not one of the above.
    """
    for name, given, allowed in (("x", x, AXES), ("statistic", statistic, STATISTICS)):
        if given not in allowed:
            raise UsageError(f"{name}={given!r} cannot be drawn; take one of {', '.join(allowed)}")
    table = runs(long)
    panels = _panels(long, table, x, statistic)
    if not panels:
        raise UsageError(
            f"there is no finished run to draw among {len(table)} runs; see `actorzoo results --table runs`"
        )
    names = sorted({name for lines in panels.values() for name in lines})
    looks = {name: _look(index) for index, name in enumerate(names)}
    thresholds = table.groupby("env")["reward_threshold"].first()

    with style.context(STYLE):
        n_columns = min(len(panels), 3 if len(panels) > 4 else 2)
        n_rows = -(-len(panels) // n_columns)
        width = 7.0 if n_columns == 1 else 4.6 * n_columns
        figure = Figure(figsize=(width, 1.1 + 3.1 * n_rows), layout="constrained", dpi=DPI)
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axis, (env, lines) in zip(axes, panels.items(), strict=False):
            _draw(axis, lines, looks, thresholds[env])
            _name(axis, env, lines)
            axis.set(xlabel=AXES[x], ylabel="evaluation return")
        for unused in axes[len(panels) :]:
            unused.remove()
        handles = {
            label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            [handles[_label(name)] for name in names],
            [_label(name) for name in names],
            loc="outside upper center",
            ncols=min(len(names), 2 * n_columns + 2),
        )
        caption = fill(_caption(long, panels, x, statistic), int(17 * width))
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=7.5, color="#444444", linespacing=1.3)
    return figure


def save(figure: Figure, path: Path | str) -> None:
    """Write a picture, whole or not at all.

    Args:
        figure: what to write.
        path: ends with .png, .svg or .pdf; its folder is made where needed.

    Raises:
        UsageError: another ending, or there can be no such file.
    """
    path = make_room(check_suffix(Path(path)))
    with style.context(STYLE), whole_file(path) as temporary:
        # the date is the only thing that differs between two files of the same runs
        figure.savefig(temporary, metadata={".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix))


def check_suffix(path: Path) -> Path:
    """The path, if a picture can be written there.

    Raises:
        UsageError: its ending is none of `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path.name} is no picture's name; end it with one of {', '.join(SUFFIXES)}")
    return path


Name = tuple[str, str]  # algo, variant


def _panels(long: pd.DataFrame, table: pd.DataFrame, x: str, statistic: str) -> dict[str, dict[Name, Line]]:
    """Lines by algorithm and variant, by environment; only what has finished runs with evaluations."""
    evaluations = dict(list(curve(long).groupby("path")))
    counted = table[table["counted"] & table["path"].isin(list(evaluations))]
    panels: dict[str, dict[Name, Line]] = {}
    for (env, algo, variant), group in counted.groupby(["env", "algo", "variant"]):
        panels.setdefault(env, {})[algo, variant] = _line([evaluations[path] for path in group["path"]], x, statistic)
    return panels


def _line(curves: Sequence[pd.DataFrame], x: str, statistic: str) -> Line:
    """The statistic of several runs on common steps or seconds, with its band."""
    position = _POSITION[x]
    curves = [one.drop_duplicates(position, keep="last") for one in curves]  # a clock may tick more slowly than steps
    grid = statistics.common_grid([one[position] for one in curves])
    values = np.stack([statistics.interpolate(one[position], one["value"], grid) for one in curves])
    estimate = STATISTICS[statistic][1]
    low, high = statistics.band(values, estimate, n_resamples=N_RESAMPLES)
    return Line(grid, estimate(values.T), low, high, len(curves))


def _look(index: int) -> dict[str, Any]:
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": ("-", "--", ":")[index // len(COLORS) % 3],
    }


def _draw(axis: Axes, lines: Mapping[Name, Line], looks: Mapping[Name, dict[str, Any]], threshold: float) -> None:
    for name, line in lines.items():
        look = looks[name]
        every = max(1, len(line.x) // 8)
        offset = list(looks).index(name) * every // max(1, len(looks))  # markers of several lines side by side
        axis.fill_between(line.x, line.low, line.high, color=look["color"], alpha=0.17, linewidth=0)
        axis.plot(line.x, line.y, label=_label(name), linewidth=1.7, markersize=4.5, markevery=(offset, every), **look)
    if np.isfinite(threshold):
        axis.axhline(threshold, color="#777777", linestyle=(0, (4, 3)), linewidth=1.0, zorder=1.5)
        axis.annotate(  # beside the panel, where no curve can run through it
            f"threshold\n{threshold:g}".replace("-", "−"),
            (1.0, threshold),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color="#555555",
            fontsize=7.5,
        )
    axis.margins(x=0.02, y=0.08)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.xaxis.set_major_locator(MaxNLocator(6))


def _name(axis: Axes, env: str, lines: Mapping[Name, Line]) -> None:
    axis.set_title(env)
    axis.set_title(_count(lines), loc="right", fontsize=8, fontweight="normal")


def _count(lines: Mapping[Name, Line]) -> str:
    """How many runs are behind each line, as short as it can be said."""
    counts = {_label(name): line.n for name, line in lines.items()}
    fewest, most = min(counts.values()), max(counts.values())
    if fewest == most:
        return f"n = {most} runs{' each' if len(counts) > 1 else ''}"
    each = "n: " + ", ".join(f"{label} {n}" for label, n in counts.items())
    return each if len(each) <= 34 else f"n = {fewest} to {most} runs each"


def _label(name: Name) -> str:
    algo, variant = name
    shown = algo.upper() if len(algo) <= LONGEST_ACRONYM else algo
    return f"{shown} ({variant})" if variant else shown


def _caption(long: pd.DataFrame, panels: Mapping[str, Mapping[Name, Line]], x: str, statistic: str) -> str:
    """What the picture shows, in words: statistic, interval, what was left out."""
    alone = any(line.n == 1 for lines in panels.values() for line in lines.values())
    left_out = summary(long)[["failures", "unfinished"]].sum()
    return (
        f"Lines: {STATISTICS[statistic][0]} over n training runs of the return at each evaluation (deterministic "
        "actions, separate episodes). Bands: pointwise 95 % bootstrap interval over runs"
        f"{'; none for a single run' if alone else ''}. Interpolated to common {x}, not smoothed. "
        f"Finished runs only: {left_out['failures']} failed and {left_out['unfinished']} unfinished are left out."
    )


def short_number(value: float) -> str:
    """20000 -> "20k", 1500000 -> "1.5M": as long as a tick's label may be."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
