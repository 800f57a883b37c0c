"""What a study is, as data: everything that decides which trials it makes and how its winner is found.

A study is a folder, `<runs dir>/studies/<name>/`:
```
study.yml       this configuration, whole; a worker process is started with nothing else
journal.log     the trials, where no storage is given (Optuna's journal, for one machine)
race/, test/    the configurations that were raced and tested, each a file for `actorzoo train --config`
runs/           run folders of race and test
race.csv, test.csv, verdict.json
trials.csv      one row a trial
figures/        Optuna's plots, as HTML and PNG
report.md       all of it on one page
winner.yml      the winning configuration, for `actorzoo train --config`
```
How many processes work on a study is no part of it: that may change from one call to the next.
"""

import hashlib
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from tuning.config import RunConfig
from tuning.errors import UsageError
from tuning.fields import Count, Positive, Section
from tuning.files import write_yaml
from tuning.runs import env_folder_name
from tuning.yaml_files import read_yaml

STUDIES = "studies"
STUDY_FILE = "study.yml"
JOURNAL_FILE = "journal.log"
#: What may differ when a study is continued: how long it goes on, where its trials are kept, how its end is judged.
CHANGEABLE = frozenset({"budget", "storage", "race_top", "race_seeds", "test_seeds"})
NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"


Direction = Literal["minimize", "maximize"]


class Metric(StrEnum):
    """What one training run is worth; `tuning.study.scores` computes them."""

    LAST_MEAN = "last_mean"
    IQM = "iqm"
    AUC = "auc"
    STEPS_TO_THRESHOLD = "steps_to_threshold"
    TRAIN_SECONDS = "train_seconds"

    @property
    def direction(self) -> Direction:
        """`maximize` or `minimize`."""
        return "minimize" if self in (Metric.STEPS_TO_THRESHOLD, Metric.TRAIN_SECONDS) else "maximize"


class Component(Section):
    """A sampler or a pruner.

    Attributes:
        name: a short name (`tpe`, `median`) or an import path (`package.module:Class`).
        options: arguments of its constructor.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Budget(Section):
    """When the search ends: at whichever comes first. None sets no limit.

    Attributes:
        trials: that have ended: complete, pruned or failed. Those whose process was lost do not count.
        hours: during which at least one trial was running, on whichever machine.
        total_steps: environment steps of all trials together.
        patience: trials that have ended since the best one, or since the last one of the Pareto front.
    """

    trials: Count | None = None
    hours: Positive | None = None
    total_steps: Count | None = None
    patience: Count | None = None

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if all(limit is None for limit in (self.trials, self.hours, self.total_steps, self.patience)):
            raise ValueError("a study without any limit would never end; give trials, hours, total_steps or patience")
        return self


class StudyConfig(Section):
    """One study.

    Attributes:
        name: of the study in its storage, and of its folder.
        base: what a trial is to do where its search space says nothing: algorithm, environment, n_timesteps, eval_freq
            and eval_episodes of every trial, race and test run. Its seed is not used. This is the default, too, against
            which the winner is tested.
        search_space: dimensions by hyperparameter, as `tuning.search_space` reads them.
        seed: of everything random in the study; the seeds of trials, race and test follow from it.
        seeds_per_trial: training runs a trial. All trials use the same seeds.
        objectives: what a trial is judged by; with several there is a Pareto front, and no pruning.
        last_evaluations: how many evaluations at the end of a run `last_mean` and `iqm` take.
        threshold: the return that `steps_to_threshold` waits for.
        sampler: chooses hyperparameters.
        pruner: ends trials early.
        budget: when the search ends.
        max_train_seconds: trials that trained longer, a run, are infeasible: samplers avoid them, none can win.
        enqueue_default: the first trial is the default, as near as the search space allows.
        race_top: the best so many configurations are raced.
        race_seeds: fresh seeds on which each of them is trained.
        test_seeds: more fresh seeds, on which the winner and the default are trained.
        storage: database URL or journal file; None: journal.log in the study's folder.
    """

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    base: RunConfig
    search_space: dict[str, Any]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    seeds_per_trial: Count = 1
    objectives: Annotated[list[Annotated[Metric, Field(strict=False)]], Field(min_length=1)] = Field(
        default_factory=lambda: [Metric.LAST_MEAN]
    )
    last_evaluations: Count = 3
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    sampler: Component = Component(name="tpe")
    pruner: Component = Component(name="median")
    budget: Budget = Budget(trials=50)
    max_train_seconds: Positive | None = None
    enqueue_default: bool = True
    race_top: Count = 3
    race_seeds: Annotated[int, Field(ge=2)] = 5
    test_seeds: Annotated[int, Field(ge=2)] = 5
    storage: str | None = None

    def to_data(self) -> dict[str, Any]:
        """Plain data, ready to be written as YAML and to be read again to an equal configuration."""
        return self.model_dump(mode="json")

    def write(self, folder: Path) -> Path:
        """Write study.yml into the study's folder, whole or not at all; a password in its storage is left out.

        Returns:
            The file.
        """
        from tuning.study.storage import safe_url  # imports optuna, which reading a study does not need

        path = folder / STUDY_FILE
        storage = None if self.storage is None else safe_url(self.storage)
        write_yaml(
            path,
            self.to_data() | {"storage": storage},
            heading="What this study is; actorzoo reads it again to continue the study.",
        )
        return path


def read_study_config(path: str | os.PathLike[str]) -> StudyConfig:
    """Read a study's configuration.

    Args:
        path: study.yml, or the study's folder.

    Raises:
        UsageError: the file cannot be read or is no study's; with the line.
    """
    file = Path(path)
    tree = read_yaml(file / STUDY_FILE if file.is_dir() else file)
    try:
        return StudyConfig.model_validate(tree.data)
    except ValidationError as error:
        finding = error.errors(include_url=False)[0]
        key = tuple(str(part) for part in finding["loc"])
        raise UsageError(
            f"{tree.place(key) or file}: {'.'.join(key)}: {finding['msg']}; is this a study.yml?"
        ) from error


def study_folder(runs_dir: str | os.PathLike[str], name: str) -> Path:
    """Where a study lies."""
    return Path(runs_dir) / STUDIES / name


def default_name(algo: str, env_id: str, definition: dict[str, Any]) -> str:
    """`<algo>-<env>-<8 hex digits>`: the same settings continue the same study, others begin another.

    Args:
        algo: registry key.
        env_id: environment.
        definition: `StudyConfig.to_data()`; its name and what is `CHANGEABLE` do not count.
    """
    relevant = {key: value for key, value in definition.items() if key not in CHANGEABLE | {"name"}}
    digits = hashlib.sha256(json.dumps(relevant, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:8]
    return f"{algo}-{env_folder_name(env_id)}-{digits}"


def directions(config: StudyConfig) -> list[Direction]:
    """`maximize` or `minimize` for each objective, as `optuna.create_study(directions=...)` takes them."""
    return [metric.direction for metric in config.objectives]
