"""Optuna's plots of a study: HTML to explore with plotly, PNG to print with matplotlib.

A plot that cannot be made of a study (importances of one trial, a contour of one parameter) is left out, and why is
said. Nothing needs a browser or the network: the pages share one copy of plotly's script, which lies beside them.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from tuning.files import whole_file

MAX_PARAMETERS = 4  # a contour has a panel for each pair of them
DPI = 130
_PANEL = 2.6  # inches


@dataclass(frozen=True)
class Figures:
    """What was drawn.

    Attributes:
        html, png: file by name of plot.
        skipped: why a plot was left out, by its name.
    """

    html: dict[str, Path] = field(default_factory=dict)
    png: dict[str, Path] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


class _Unfit(Exception):  # noqa: N818 - what the study is for the plot
    """The plot cannot be made of this study; the message says why."""


@dataclass(frozen=True)
class Plot:
    """One kind of plot.

    Attributes:
        name: of its files.
        function: its name in `optuna.visualization` and `optuna.visualization.matplotlib`.
        arguments: for the function, from the study and the names of its objectives; raises `_Unfit`.
        size: of the PNG, in inches, from the study.
    """

    name: str
    function: str
    arguments: Callable[[optuna.Study, Sequence[str]], dict[str, Any]]
    size: Callable[[optuna.Study], tuple[float, float]] = lambda _: (8.0, 4.8)


def write_figures(study: optuna.Study, folder: Path, objectives: Sequence[str] | None = None) -> Figures:
    """Draw everything that can be drawn, into `<name>.html` and `<name>.png`.

    Args:
        study: any study.
        folder: where to; made where needed.
        objectives: names of its values; "value", ... by default.

    Returns:
        What was drawn, and what was not and why.
    """
    figures = Figures()
    names = list(objectives or [f"value {index}" for index in range(len(study.directions))])
    for plot in PLOTS:
        try:
            arguments = plot.arguments(study, names)
            with warnings.catch_warnings(), _quiet_optuna():
                warnings.simplefilter("ignore")  # experimental functions, layouts
                html = _write_html(study, plot, arguments, folder)
                png = _write_png(study, plot, arguments, folder)
        except _Unfit as reason:
            figures.skipped[plot.name] = str(reason)
            for ending in (".html", ".png"):
                (folder / f"{plot.name}{ending}").unlink(missing_ok=True)
        else:
            figures.html[plot.name], figures.png[plot.name] = html, png
    return figures


def _write_html(study: optuna.Study, plot: Plot, arguments: dict[str, Any], folder: Path) -> Path:
    path = folder / f"{plot.name}.html"
    figure = getattr(optuna.visualization, plot.function)(study, **arguments)
    folder.mkdir(parents=True, exist_ok=True)
    figure.write_html(path, include_plotlyjs="directory", full_html=True)
    return path


def _write_png(study: optuna.Study, plot: Plot, arguments: dict[str, Any], folder: Path) -> Path:
    path = folder / f"{plot.name}.png"
    import matplotlib.pyplot as plt  # Optuna draws with pyplot: the figure is taken from it and closed

    before = set(plt.get_fignums())
    with plt.style.context("default"):
        axes = getattr(optuna.visualization.matplotlib, plot.function)(study, **arguments)
        figure = _figure_of(axes)
        figure.set_size_inches(*plot.size(study))
        with whole_file(path) as temporary:
            figure.savefig(temporary, dpi=DPI, bbox_inches="tight")
    for number in set(plt.get_fignums()) - before:
        plt.close(number)
    return path


def _figure_of(axes: Any) -> Figure:
    while not hasattr(axes, "get_figure"):  # an array of axes
        axes = axes[0]
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure


class _quiet_optuna:  # noqa: N801 - a context manager, called like one
    """Optuna logs what it leaves out of a plot; that is not for a user to act upon."""

    def __enter__(self) -> None:
        self._before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def __exit__(self, *_: object) -> None:
        optuna.logging.set_verbosity(self._before)


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _need_complete(study: optuna.Study, count: int = 1) -> list[FrozenTrial]:
    trials = _complete(study)
    if len(trials) < count:
        raise _Unfit(f"it needs {count} complete trials, and there are {len(trials)}")
    return trials


def _target(study: optuna.Study, names: Sequence[str]) -> dict[str, Any]:
    """The first objective, by its name; Optuna wants to be told which one only where there are several."""
    if len(names) == 1:
        return {"target_name": names[0]}
    return {"target": lambda trial: trial.values[0], "target_name": names[0]}


def _varied(study: optuna.Study) -> list[str]:
    """Parameters with several values, most important first where that can be said."""
    trials = _complete(study)
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    values = {name: {str(trial.params[name]) for trial in trials if name in trial.params} for name in names}
    return [name for name in names if len(values[name]) > 1]


def _history(study: optuna.Study, names: Sequence[str]) -> dict[str, Any]:
    _need_complete(study)
    return _target(study, names)


def _intermediate(study: optuna.Study, _: Sequence[str]) -> dict[str, Any]:
    if len(study.directions) > 1:
        raise _Unfit("with several objectives trials report no intermediate values")
    if not any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        raise _Unfit("no trial has reported an intermediate value")
    return {}


def _importances(study: optuna.Study, names: Sequence[str]) -> dict[str, Any]:
    trials = _need_complete(study, 4)
    if not _varied(study):
        raise _Unfit("no parameter has had different values")
    if len({trial.values[0] for trial in trials}) == 1:
        raise _Unfit("all complete trials have the same value")
    return _target(study, names) | {"evaluator": optuna.importance.PedAnovaImportanceEvaluator()}


def _parameters(at_least: int, at_most: int | None = None) -> Callable[[optuna.Study, Sequence[str]], dict[str, Any]]:
    def arguments(study: optuna.Study, names: Sequence[str]) -> dict[str, Any]:
        _need_complete(study, 2)
        varied = _varied(study)
        if len(varied) < at_least:
            raise _Unfit(f"it needs {at_least} parameters with different values, and there are {len(varied)}")
        return _target(study, names) | {"params": sorted(_most_important(study, varied, names)[:at_most])}

    return arguments


def _most_important(study: optuna.Study, varied: list[str], names: Sequence[str]) -> list[str]:
    try:
        arguments = _importances(study, names)
    except _Unfit:
        return varied
    del arguments["target_name"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importances = optuna.importance.get_param_importances(study, **arguments)
    return sorted(varied, key=lambda name: -importances.get(name, 0.0))


def _timeline(study: optuna.Study, _: Sequence[str]) -> dict[str, Any]:
    if not any(trial.datetime_start for trial in study.get_trials(deepcopy=False)):
        raise _Unfit("no trial has been begun")
    return {}


def _pareto(study: optuna.Study, names: Sequence[str]) -> dict[str, Any]:
    if len(study.directions) not in (2, 3):
        raise _Unfit(f"it needs two or three objectives, and there are {len(study.directions)}")
    _need_complete(study)
    return {"target_names": list(names)}


def _slice_size(study: optuna.Study) -> tuple[float, float]:
    return max(8.0, 1.3 * _PANEL * len(_varied(study))), 4.0


def _contour_size(study: optuna.Study) -> tuple[float, float]:
    side = max(7.0, _PANEL * 1.3 * min(len(_varied(study)), MAX_PARAMETERS))
    return side, side


def _rows(study: optuna.Study) -> tuple[float, float]:
    return 8.0, max(4.0, 0.16 * len(study.get_trials(deepcopy=False)))


def _wide(study: optuna.Study) -> tuple[float, float]:
    return max(8.0, 1.6 * (1 + len(_varied(study)))), 5.0


PLOTS = (
    Plot("history", "plot_optimization_history", _history),
    Plot("intermediate_values", "plot_intermediate_values", _intermediate),
    Plot("importances", "plot_param_importances", _importances),
    Plot("slice", "plot_slice", _parameters(1), _slice_size),
    Plot("contour", "plot_contour", _parameters(2, MAX_PARAMETERS), _contour_size),
    Plot("parallel_coordinate", "plot_parallel_coordinate", _parameters(1), _wide),
    Plot("timeline", "plot_timeline", _timeline, _rows),
    Plot("pareto_front", "plot_pareto_front", _pareto),
)
