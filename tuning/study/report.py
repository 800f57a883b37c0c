"""A study as one page of Markdown: verdict, tables, settings ready to paste, pictures, failures with their causes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from tuning.files import write_text
from tuning.study import attributes
from tuning.study.config import StudyConfig
from tuning.study.figures import Figures
from tuning.study.trial_table import error_of, state_of

if TYPE_CHECKING:
    from tuning.study.pipeline import Tuned

REPORT_FILE = "report.md"
BEST_SHOWN = 10
_STAGE_COLUMNS = ("candidate", "objective", "n", "failures", "mean", "std", "iqm", "iqm_low", "iqm_high", "auc")


def write_report(tuned: "Tuned", trials: pd.DataFrame, figures: Figures) -> Path:
    """Write report.md into the study's folder.

    Args:
        tuned: what was found.
        trials: `tuning.study.trial_table.trial_table` of the study.
        figures: what was drawn; the page shows the PNGs and links the HTML.

    Returns:
        The file.
    """
    config, folder = tuned.config, tuned.folder
    base = config.base
    parts = [
        f"# {base.algo} on {base.env}: the study {config.name}",
        f"The winner is {tuned.verdict.sentence}.",
        _counts(trials, config),
        "## The winner",
        f"`{tuned.winner_file.name}`, for `actorzoo train --config {tuned.winner_file.name}`:",
        _call(tuned),
        f"## Test, {config.test_seeds} seeds that neither search nor race has seen",
        _table(tuned.test, _STAGE_COLUMNS),
    ]
    if len(tuned.race):
        parts += [f"## Race, {config.race_seeds} fresh seeds", _table(tuned.race, _STAGE_COLUMNS)]
    parts += [f"## The best trials, of {len(trials)}", _best(trials, config), _failures(tuned.study)]
    parts += _pictures(figures, folder)
    path = folder / REPORT_FILE
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")
    return path


def _counts(trials: pd.DataFrame, config: StudyConfig) -> str:
    states = trials["state"].value_counts()
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    seeds = "" if config.seeds_per_trial == 1 else f" on {config.seeds_per_trial} seeds"
    steps = int(trials["num_timesteps"].fillna(0).sum())
    return (
        f"{len(trials)} trials of {config.base.n_timesteps:,} steps each{seeds} ({counted}), {steps:,} steps in all; "
        f"sampler {config.sampler.name}, pruner {config.pruner.name}, seed {config.seed}."
    )


def _call(tuned: "Tuned") -> str:
    """The constructor call of the trial that won; the default has none in the study."""
    winner = tuned.winner.model_copy(update={"seed": 0}).to_data()
    for trial in tuned.study.get_trials(deepcopy=False):
        found = trial.user_attrs.get(attributes.CONFIG)
        if found is not None and {**found, "seed": 0} == winner and attributes.CONSTRUCTOR in trial.user_attrs:
            return f"```python\n{trial.user_attrs[attributes.CONSTRUCTOR]}\n```"
    return "It is the default itself: no trial was better."


def _best(trials: pd.DataFrame, config: StudyConfig) -> str:
    objective = config.objectives[0]
    complete = trials[trials["state"] == "complete"]
    if not len(complete):
        return "No trial is complete."
    ordered = complete.sort_values(objective.value, ascending=objective.direction == "minimize", kind="stable")
    shown = ordered.head(BEST_SHOWN).drop(columns=["state", "retry_of", "start", "host", "error"])
    return _table(shown.dropna(axis=1, how="all"), list(shown.columns))


def _failures(study: optuna.Study) -> str:
    """Every failed trial with its cause; alike causes together."""
    causes: dict[str, list[int]] = {}
    for trial in study.get_trials(deepcopy=False):
        if cause := _cause(trial):
            causes.setdefault(cause, []).append(trial.number)
    if not causes:
        return ""
    lines = [f"* {_numbers(numbers)}: {cause}" for cause, numbers in causes.items()]
    note = f"Tracebacks are the trials' user attribute `{attributes.TRACEBACK}`."
    return "\n".join(["## Trials without a result", "", *lines, "", note])


def _cause(trial: FrozenTrial) -> str:
    error = error_of(trial)
    return f"{state_of(trial)}: {error}" if error else ""


def _numbers(numbers: Sequence[int]) -> str:
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _table(table: pd.DataFrame, columns: Sequence[str]) -> str:
    kept = [column for column in columns if column in table]
    return table[kept].to_markdown(index=False, floatfmt=".4g")


def _pictures(figures: Figures, folder: Path) -> list[str]:
    if not figures.png and not figures.skipped:
        return []
    parts = ["## Pictures"]
    for name, path in figures.png.items():
        page = figures.html[name].relative_to(folder).as_posix()
        parts.append(f"[{name.replace('_', ' ')}]({page})\n\n![{name}]({path.relative_to(folder).as_posix()})")
    if figures.skipped:
        left_out = "; ".join(f"{name.replace('_', ' ')}: {why}" for name, why in figures.skipped.items())
        parts.append(f"Left out: {left_out}.")
    return parts
