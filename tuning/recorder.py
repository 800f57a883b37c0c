"""The writing side of a run folder; `tuning.runs` is the reading side.

Every file is replaced as a whole, except for the two tables, which grow by whole blocks of lines. run.json is written
last, so a folder without it is no run yet.
"""

import datetime
import itertools
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import UsageError
from tuning.files import write_json, write_text, write_yaml
from tuning.provenance import hardware, versions
from tuning.runs import (
    EPISODE_COLUMNS,
    EVALUATION_COLUMNS,
    RUN_FORMAT,
    RunFolder,
    make_run_id,
    process_identity,
    run_path,
)

if TYPE_CHECKING:
    import pandas as pd

    from tuning.config import RunConfig
    from tuning.evaluation import EpisodeResult

_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class Recorder:
    """Writes into one run's folder.

    Args:
        folder: an existing run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.checkpoint: dict[str, Any] | None = None
        self._episode_rows: list[tuple[Any, ...]] = []

    def model_path(self, which: str) -> Path:
        """Where the "final", "best" or "last" model belongs."""
        return self.folder.path / "models" / f"{which}.zip"

    @property
    def replay_buffer_path(self) -> Path:
        """Where the replay buffer of the last checkpoint belongs."""
        return self.folder.path / "models" / "replay_buffer.pkl"

    def write_status(
        self, status: str, num_timesteps: int, train_seconds: float, error: BaseException | None = None
    ) -> None:
        """Replace status.json.

        Args:
            status: running, finished, failed or interrupted.
            num_timesteps: environment steps so far.
            train_seconds: spent on them, without evaluation and set-up.
            error: what ended the run.
        """
        content = {
            "status": status,
            "num_timesteps": num_timesteps,
            "train_seconds": round(train_seconds, 6),
            "steps_per_second": round(num_timesteps / train_seconds, 3) if train_seconds > 0 else 0.0,
            "updated": _now(),
            **process_identity(),
            "error": None if error is None else "".join(traceback.format_exception(error)),
            "error_line": None if error is None else one_line(error),
            "checkpoint": self.checkpoint,
        }
        write_json(self.folder.path / "status.json", content)

    def note_checkpoint(self, num_timesteps: int, train_seconds: float) -> None:
        """Remember, for the next status, that models/last.zip holds this moment."""
        self.checkpoint = {"num_timesteps": num_timesteps, "train_seconds": round(train_seconds, 6)}

    def drop_checkpoint(self) -> None:
        """Remove what only an unfinished run needs."""
        self.checkpoint = None
        self.model_path("last").unlink(missing_ok=True)
        self.replay_buffer_path.unlink(missing_ok=True)

    def add_evaluation(
        self, num_timesteps: int, train_seconds: float, episodes: Sequence["EpisodeResult"], sampled: bool
    ) -> None:
        """Append one evaluation to evaluations.csv."""
        rows = [
            (num_timesteps, f"{train_seconds:.6f}", number, repr(episode.value), episode.length, int(sampled))
            for number, episode in enumerate(episodes)
        ]
        self._append("evaluations.csv", rows)

    def add_episode(self, num_timesteps: int, train_seconds: float, value: float, length: int) -> None:
        """Remember a training episode until `flush`."""
        self._episode_rows.append((num_timesteps, f"{train_seconds:.6f}", repr(value), length))

    def flush(self) -> None:
        """Append the remembered episodes to episodes.csv."""
        rows, self._episode_rows = self._episode_rows, []
        self._append("episodes.csv", rows)

    def forget_after(self, num_timesteps: int) -> None:
        """Remove evaluations and episodes later than this step: the run goes on from there."""
        for name, table in (
            ("evaluations.csv", self.folder.evaluations()),
            ("episodes.csv", self.folder.episodes()),
        ):
            self._rewrite(name, table[table["num_timesteps"] <= num_timesteps])

    def _rewrite(self, name: str, table: "pd.DataFrame") -> None:
        flags = {column: int for column in table if table[column].dtype == bool}
        write_text(self.folder.path / name, table.astype(flags).to_csv(index=False))

    def _append(self, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
        text = "".join(",".join(map(str, row)) + "\n" for row in rows)
        if not text:
            return
        handle = os.open(self.folder.path / name, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)


def create_run(
    config: "RunConfig",
    runs_dir: Path | str,
    *,
    run_id: str | None = None,
    command: Sequence[str] | None = None,
    tags: Mapping[str, Any] | None = None,
    reward_threshold: float | None = None,
) -> Recorder:
    """Make the folder of a new run.

    Args:
        config: what will be trained.
        runs_dir: the root; the run lies two folders deeper.
        run_id: its name; by default derived from the configuration, with `-2`, `-3`, ... where that exists.
        command: what started it.
        tags: anything a caller wants to find again in run.json.
        reward_threshold: the environment's, so that results need not make it again.

    Raises:
        UsageError: `run_id` exists already or is no name for a folder.
    """
    path = _reserve(Path(runs_dir), config, run_id)
    recorder = Recorder(RunFolder(path))
    about = {
        "format": RUN_FORMAT,
        "algo": config.algo,
        "env": config.env,
        "seed": config.seed,
        "run_id": path.name,
        "n_timesteps": config.n_timesteps,
        "created": _now(),
        "versions": versions(),
        "hardware": hardware(),
        "command": list(sys.argv if command is None else command),
        "tags": dict(tags or {}),
        "reward_threshold": reward_threshold,
    }
    write_yaml(path / "config.yml", config.to_data(), heading="actorzoo train --config config.yml")
    write_text(path / "evaluations.csv", ",".join(EVALUATION_COLUMNS) + "\n")
    write_text(path / "episodes.csv", ",".join(EPISODE_COLUMNS) + "\n")
    recorder.write_status("running", 0, 0.0)
    write_json(path / "run.json", about)
    return recorder


def one_line(error: BaseException) -> str:
    """The last line of its traceback: type and message."""
    return "".join(traceback.format_exception_only(error)).strip().replace("\n", " ")


def _reserve(runs_dir: Path, config: "RunConfig", run_id: str | None) -> Path:
    """Make a folder that did not exist."""
    if run_id is not None and not _RUN_ID.fullmatch(run_id):
        raise UsageError(f"--run-id {run_id!r} is no folder's name; use letters, digits, '_', '.' and '-'")
    first = make_run_id(config.seed, config.to_data()) if run_id is None else run_id
    for number in itertools.count(1):
        path = run_path(runs_dir, config.algo, config.env, first if number == 1 else f"{first}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            if run_id is not None:
                raise UsageError(
                    f"The run {path} exists already; choose another --run-id, or continue it with actorzoo resume"
                ) from error
        except OSError as error:
            raise UsageError(f"{path} cannot be made ({error.strerror}); choose another --runs-dir") from error
        else:
            return path
    raise AssertionError("unreachable: the numbers do not end")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
