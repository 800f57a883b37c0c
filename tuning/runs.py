"""A run is a folder: where it lies, what it is called, and how to read it.

```
runs/<algo key>/<env id>/<run id>/
    config.yml        the resolved configuration, ready for `actorzoo train --config config.yml`
    run.json          what was run: algorithm, environment, seed, versions, hardware, command
    status.json       running, finished, failed or interrupted; steps, seconds, error
    evaluations.csv   one row per evaluation episode, returns unscaled and unnormalized
    episodes.csv      training episodes as Monitor saw them
    models/           final.zip and best.zip; last.zip while the run is unfinished
```
Tables, plots and reports are derived by reading folders; deleting them loses nothing.
"""

import csv
import hashlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tuning.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

RUN_FORMAT = 1  # run.json's "format": raised when a reader of the old folders would misread the new ones
DEFAULT_RUNS_DIR = Path("runs")

EVALUATION_COLUMNS = ("num_timesteps", "train_seconds", "episode", "return", "length", "sampled")
EPISODE_COLUMNS = ("num_timesteps", "train_seconds", "return", "length")

NO_SETTINGS = frozenset({"seed", "import_modules"})  # keys that make a configuration no other one
UNFINISHED = frozenset({"running", "failed", "interrupted"})


def env_folder_name(env_id: str) -> str:
    """The environment's folder: its id with '/' and ':' replaced by '-' ("ALE/Pong-v5" -> "ALE-Pong-v5")."""
    return env_id.replace("/", "-").replace(":", "-")


def make_run_id(seed: int, config: dict[str, Any]) -> str:
    """`s<seed>-<8 hex digits>`; the digits are a hash of the configuration without what is no setting of it.

    Seeds of one configuration therefore share their digits, and the name is known before the run starts. Modules that
    are imported only tell where an environment's name comes from: they count as none.

    Args:
        seed: the run's seed.
        config: the resolved configuration as plain data.
    """
    # emptied, not left out: so runs without the option keep the names that they always had
    relevant = {key: [] if key == "import_modules" else value for key, value in config.items() if key != "seed"}
    text = json.dumps(relevant, sort_keys=True, ensure_ascii=False)
    return f"s{seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run_path(runs_dir: Path | str, algo: str, env_id: str, run_id: str) -> Path:
    """Where the run's folder lies below `runs_dir`."""
    return Path(runs_dir) / algo / env_folder_name(env_id) / run_id


@dataclass(frozen=True)
class RunFolder:
    """Read access to one run; every call reads the files as they are now.

    Attributes:
        path: the folder, which holds a run.json.
    """

    path: Path

    def read(self) -> dict[str, Any]:
        """run.json: "format", "algo", "env", "seed", "run_id", "n_timesteps", "created", "versions", ..., "tags".

        Raises:
            UsageError: the file is not readable or was written by a later version.
        """
        content = _read_json(self.path / "run.json")
        if content.get("format") != RUN_FORMAT:
            raise UsageError(
                f"{self.path / 'run.json'} has format {content.get('format')!r}, but this version reads format "
                f"{RUN_FORMAT}; update actorzoo or train again"
            )
        return content

    @property
    def config_path(self) -> Path:
        """The file that `tuning.resolve` and `actorzoo train --config` take."""
        return self.path / "config.yml"

    def config(self) -> dict[str, Any]:
        """config.yml as plain data, not yet validated."""
        file = self.config_path
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(f"{file} cannot be read ({_first_line(error)}); restore it or train again") from error
        if not isinstance(content, dict):
            raise UsageError(f"{file} holds no mapping of keys to values; restore it or train again")
        return content

    @property
    def status(self) -> dict[str, Any]:
        """status.json; a run marked as running whose process is gone (killed, out of memory) is shown as failed."""
        content = _read_json(self.path / "status.json")
        if content.get("status") == "running" and not _process_lives(content):
            line = f"the process (pid {content.get('pid')}) ended without a word: killed, or out of memory"
            content |= {"status": "failed", "error": line, "error_line": line}
        return content

    def evaluations(self) -> "pd.DataFrame":
        """One row per evaluation episode: num_timesteps, train_seconds, episode, return, length, sampled (bool)."""
        frame = _read_csv(self.path / "evaluations.csv", EVALUATION_COLUMNS)
        return frame.astype({"num_timesteps": int, "episode": int, "length": int, "sampled": bool})

    def episodes(self) -> "pd.DataFrame":
        """Training episodes as Monitor saw them: num_timesteps, train_seconds, return, length."""
        return _read_csv(self.path / "episodes.csv", EPISODE_COLUMNS).astype({"num_timesteps": int, "length": int})

    def model_path(self, which: str = "final") -> Path:
        """models/<which>.zip for "final", "best" or "last".

        Raises:
            UsageError: the run has no such model (yet).
        """
        path = self.path / "models" / f"{which}.zip"
        if not path.is_file():
            there = sorted(p.stem for p in (self.path / "models").glob("[!.]*.zip"))
            hint = f"it has {', '.join(there)}" if there else "it has none yet"
            raise UsageError(f"{self.path} ({self.status['status']}) has no model {which!r}; {hint}")
        return path


def open_run(path: str | os.PathLike[str]) -> RunFolder:
    """The run in this folder.

    Raises:
        UsageError: the folder does not exist or is no run's.
    """
    path = Path(path)
    if not path.is_dir():
        raise UsageError(f"{path} is no folder; give a run's folder, such as runs/a3c/CartPole-v1/s0-1a2b3c4d")
    for name in ("run.json", "status.json", "config.yml"):
        if not (path / name).is_file():
            inside = find_runs(path)
            hint = f"the nearest run below it is {inside[0].path}" if inside else "a run is what `actorzoo train` makes"
            raise UsageError(f"{path} is no run folder, it has no {name}; {hint}")
    run = RunFolder(path)
    run.read()
    return run


def find_runs(root: Path | str) -> list[RunFolder]:
    """All runs below `root` (or `root` itself), sorted by path; hidden folders are left out."""
    found = []
    for folder, subfolders, files in os.walk(root):
        if "run.json" in files:
            found.append(RunFolder(Path(folder)))
            subfolders.clear()
        else:
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
    return sorted(found, key=lambda run: run.path)


def process_identity() -> dict[str, Any]:
    """This process, so that a reader of status.json can tell whether it still lives: host, pid and start time."""
    return {"host": platform.node(), "pid": os.getpid(), "pid_started": _start_ticks(os.getpid())}


def _process_lives(status: dict[str, Any]) -> bool:
    """Whether the process that wrote this status may still run; on another host that cannot be known: yes."""
    if status.get("host") != platform.node():
        return True
    pid = status["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists and belongs to somebody else; its start time decides
    return _start_ticks(pid) == status.get("pid_started")  # pids are given out again


def _start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (field 22 of /proc/<pid>/stat); None where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({_first_line(error)}); is {path.parent} a run folder?") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds {type(content).__name__}, but a run's file holds an object; restore it")
    return content


def _read_csv(path: Path, columns: tuple[str, ...]) -> "pd.DataFrame":
    """The table; a last line without its end (the writer was killed while writing) is left out.

    Raises:
        UsageError: the heading or a row has other columns than a run's file.
    """
    import pandas as pd

    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    if rows and (tuple(rows[0]) != columns or any(len(row) != len(columns) for row in rows)):
        raise UsageError(f"{path} is corrupted: every row must have {','.join(columns)}; restore it or train again")
    frame = pd.DataFrame(rows[1:], columns=list(columns))
    try:
        return frame.apply(pd.to_numeric) if len(frame) else frame.astype(float)
    except ValueError as error:
        raise UsageError(f"{path} is corrupted ({_first_line(error)}); restore it or train again") from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
