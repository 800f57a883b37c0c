"""Tables and figures of the deterministic policy gradient paper's experiments, from finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.dpg_bandit import ABLATIONS, N_ACTIONS, BanditSettings, SacB
from benchmarks.dpg_control import Point, Settings
from benchmarks.report import RESULTS
from tuning import plots, statistics

FINAL_POINTS = 3
"""Final performance is the mean of so many last points of a run's learning curve."""

FloatArray = NDArray[np.float64]
BanditCurves = Mapping[tuple[int, str], tuple[BanditSettings, FloatArray]]
"""By m and method: the settings and [n_seeds, n_batches + 1] costs."""
ControlCurves = Mapping[tuple[str, str], tuple[Settings, list[list[Point]]]]
"""By task and method: the settings and a learning curve for each seed."""


def bandit_table(curves: BanditCurves, ablations: bool) -> str:
    """Markdown: mean cost after all actions with its interval, and how many times COPDAC-B's cost that is.

    Args:
        curves: of all methods.
        ablations: of these in place of the paper's methods.
    """
    lines = [
        "| m | method | alpha | sigma, or at first e^(y/2) | alpha of y | cost of the mean policy | of COPDAC-B's |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (n_dims, method), (settings, costs) in curves.items():
        if (method in ABLATIONS) != ablations:
            continue
        final = costs[:, -1]
        low, high, _ = statistics.interval(final, statistics.mean)
        variance = ""
        if isinstance(settings, SacB):
            variance = f"{settings.variance_step_size:g}" if settings.variance_step_size else "fixed"
        lines.append(
            f"| {n_dims} | {method} | {settings.step_size:g} | {settings.std:g} | {variance} "
            f"| {final.mean():.2g} [{low:.2g}, {high:.2g}] | {_times_copdac(curves, n_dims, method):,.3g} |"
        )
    return "\n".join(lines)


def _times_copdac(curves: BanditCurves, n_dims: int, method: str) -> float:
    """A method's mean cost after all actions, divided by COPDAC-B's."""
    return float(curves[n_dims, method][1][:, -1].mean() / curves[n_dims, "copdac-b"][1][:, -1].mean())


def bandit_verdict(curves: BanditCurves) -> str:
    """Whether COPDAC-B's cost is at most a tenth of SAC-B's at every m, in one sentence."""
    times = {n_dims: _times_copdac(curves, n_dims, "sac-b") for n_dims, method in curves if method == "sac-b"}
    met = "met" if min(times.values()) >= 10.0 else "**not met**"
    factors = ", ".join(f"{ratio:.2g}" for ratio in times.values())
    return (
        f"Criterion: after {N_ACTIONS:,} actions COPDAC-B's cost is at most a tenth of SAC-B's at every m, both tuned "
        f"over the same grid. It is {met}: SAC-B's cost is {factors} times COPDAC-B's at m = "
        f"{', '.join(map(str, times))}."
    )


def final_returns(curves: Sequence[Sequence[Point]]) -> FloatArray:
    """[n_seeds] mean over each run's last points."""
    return np.array([np.mean([point.mean for point in points[-FINAL_POINTS:]]) for points in curves])


def control_table(curves: ControlCurves) -> str:
    """Markdown: final returns with intervals, and how likely a run of COPDAC-Q (if there) is better than another."""
    lines = [
        "| task | method | actor | critic | third | seeds | final return | median | sampled | P(COPDAC-Q better) |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (task, method), (settings, runs) in curves.items():
        final = final_returns(runs)
        low, high, n = statistics.interval(final, statistics.mean)
        sampled = np.mean([points[-1].sampled for points in runs])
        better = ""
        if method != "copdac-q" and (task, "copdac-q") in curves:
            pair = (final_returns(curves[task, "copdac-q"][1]), final)
            lowest, highest, _ = statistics.improvement_interval([pair])
            better = f"{statistics.probability_of_improvement(*pair):.2f} [{lowest:.2f}, {highest:.2f}]"
        lines.append(
            f"| {task} | {method} | {settings.actor:g} | {settings.critic:g} | {settings.third:g} | {n} "
            f"| {final.mean():,.1f} [{low:,.1f}, {high:,.1f}] | {np.median(final):,.1f} "
            f"| {'' if method == 'copdac-q' else f'{sampled:,.1f}'} | {better} |"
        )
    return "\n".join(lines)


def _line(axis: Axes, index: int, label: str, x: Any, curves: FloatArray) -> None:
    low, high = statistics.band(curves, statistics.mean, n_resamples=plots.N_RESAMPLES)
    axis.plot(x, curves.mean(axis=0), color=plots.COLORS[index], label=label, linewidth=1.4)
    axis.fill_between(x, low, high, color=plots.COLORS[index], alpha=0.2, linewidth=0)


def _finish(figure: Figure, axes: Sequence[Axes], y: str, x: str, name: str) -> None:
    axes[0].set_ylabel(y)
    for axis in axes:
        axis.set_xlabel(x)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 3))
    plots.save(figure, RESULTS / name)


def bandit_figure(curves: BanditCurves, name: str) -> None:
    """Cost of the mean against actions on logarithmic axes, after the paper's Figure 1."""
    dimensions = list(dict.fromkeys(n_dims for n_dims, _ in curves))
    with style.context(plots.STYLE):
        figure = Figure(figsize=(10, 3.6), dpi=plots.DPI, layout="constrained")
        axes = figure.subplots(1, len(dimensions), squeeze=False)[0]
        for axis, n_dims in zip(axes, dimensions, strict=True):
            of_m = {method: costs for (m, method), (_, costs) in curves.items() if m == n_dims}
            for index, (method, costs) in enumerate(of_m.items()):
                # The cost before the first action cannot stand on a logarithmic axis.
                _line(axis, index, method, 2 * n_dims * np.arange(1, costs.shape[1]), costs[:, 1:])
            axis.set(xscale="log", yscale="log", title=f"{n_dims} action dimensions")
        _finish(figure, axes, "cost of the mean", "actions", name)


def control_figure(curves: ControlCurves, name: str) -> None:
    """Return of the mean policy against steps, after the paper's Figure 2."""
    tasks = list(dict.fromkeys(task for task, _ in curves))
    with style.context(plots.STYLE):
        figure = Figure(figsize=(10, 3.6), dpi=plots.DPI, layout="constrained")
        axes = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axis, task in zip(axes, tasks, strict=True):
            of_task = {method: runs for (name_, method), (_, runs) in curves.items() if name_ == task}
            for index, (method, runs) in enumerate(of_task.items()):
                steps = [point.step for point in runs[0]]
                _line(axis, index, method, steps, np.array([[point.mean for point in points] for points in runs]))
            axis.set_title(task)
            if task == "puddle-world":
                axis.set_yscale("symlog", linthresh=10)
        _finish(figure, axes, "return of the mean policy", "environment steps", name)
