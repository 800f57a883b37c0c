"""What a population is, as data, and where it lies.

```
runs/populations/<name>/
    population.yml        this configuration
    state.json            every interval of every member so far, and who goes on from whom; written once a generation
    checkpoints/<g>/<m>/  member m after generation g: model, replay buffer, result; older generations are removed
    evaluations.csv       the table of all evaluations
    schedule.csv, .yml    settings by steps, along the lineage of the winner
    models/final.zip      the winner
```
"""

import hashlib
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tuning.config import RunConfig
from tuning.errors import UsageError
from tuning.fields import Count, Section
from tuning.files import write_yaml
from tuning.runs import env_folder_name
from tuning.yaml_files import read_yaml

POPULATIONS = "populations"
POPULATION_FILE = "population.yml"
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Selection(StrEnum):
    """How the next generation comes from the last one."""

    PBT = "pbt"
    EVOLVE = "evolve"


class PopulationConfig(Section):
    """One population.

    Attributes:
        name: of its folder.
        base: what all members have in common: algorithm, environment, steps of each member (`n_timesteps`), episodes an
            evaluation, and every hyperparameter that the search space does not name.
        search_space: dimensions that may change while a member trains.
        fixed: dimensions of the configured search space that cannot change, and why.
        selection: `pbt` or `evolve`.
        size: members.
        interval: environment steps between two selections.
        seed: of everything random.
        truncation: of `pbt`: so large a part copies, and so large a part is copied.
        resample: of `pbt`: probability that a hyperparameter is drawn anew instead of perturbed.
        tournament_size: of `evolve`.
        elitism: of `evolve`: the best member stays as it is.
        mutation: of `evolve`: probability that a member's hyperparameters are changed.
    """

    name: str
    base: RunConfig
    search_space: dict[str, Any]
    fixed: dict[str, str] = Field(default_factory=dict)
    selection: Annotated[Selection, Field(strict=False)] = Selection.PBT
    size: Annotated[int, Field(ge=2)] = 8
    interval: Count
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    truncation: Annotated[float, Field(gt=0.0, le=0.5)] = 0.2
    resample: Probability = 0.25
    tournament_size: Annotated[int, Field(ge=1)] = 2
    elitism: bool = True
    mutation: Probability = 0.5

    @property
    def generations(self) -> int:
        """Intervals of each member; the last one may be shorter."""
        return -(-self.base.n_timesteps // self.interval)

    def target(self, generation: int) -> int:
        """Environment steps of a member at the end of a generation, counted from 1."""
        return min(generation * self.interval, self.base.n_timesteps)

    def named(self) -> "PopulationConfig":
        """With a name that follows from everything else: `<algo>-<env>-<8 hex digits>`."""
        data = {key: value for key, value in self.model_dump(mode="json").items() if key != "name"}
        digits = hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:8]
        return self.model_copy(update={"name": f"{self.base.algo}-{env_folder_name(self.base.env)}-{digits}"})


def open_folder(config: PopulationConfig, runs_dir: str | os.PathLike[str]) -> Path:
    """The population's folder with its population.yml, made or found again.

    Raises:
        UsageError: it holds a population with other settings, or cannot be made.
    """
    folder = Path(runs_dir) / POPULATIONS / config.name
    file = folder / POPULATION_FILE
    data = config.model_dump(mode="json")
    if file.is_file():
        before = read_yaml(file).data
        different = sorted(key for key in data if before.get(key) != data[key])
        if different:
            raise UsageError(
                f"{folder} holds a population with another {different[0]} ({before.get(different[0])!r}); give the "
                "settings it was begun with, or another name"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made ({error.strerror}); choose another --runs-dir") from error
    write_yaml(file, data, heading="What this population is; the same command continues it.")
    return folder
