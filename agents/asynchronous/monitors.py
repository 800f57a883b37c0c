"""Monitor files of workers: each writes its own beside the model's; SB3's ``load_results`` reads all of a folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import VecMonitor


@dataclass(frozen=True)
class PortableWriter:
    """Where a Monitor writes and under what header, in place of its open file, which cannot travel.

    Attributes:
        filename: the model's own file.
        header: first line of the file; its ``t_start`` is the zero of the episodes' times.
        extra_keys: columns beside return, length and time.
    """

    filename: str
    header: dict[str, Any]
    extra_keys: tuple[str, ...]

    @classmethod
    def of(cls, monitor: Monitor | VecMonitor) -> PortableWriter:
        """What is needed to write on elsewhere what ``monitor`` writes here."""
        writer = monitor.results_writer
        assert writer is not None
        spec = monitor.spec if isinstance(monitor, Monitor) else None
        return cls(
            filename=writer.file_handler.name,
            header={"t_start": monitor.t_start, "env_id": str(spec and spec.id)},
            extra_keys=tuple(name for name in writer.logger.fieldnames if name not in ("r", "l", "t")),
        )

    def open_for(self, worker: int) -> ResultsWriter:
        """The worker's own file: ``name.monitor.csv`` becomes ``name.worker0.monitor.csv``.

        A later ``learn`` of the same model goes on in the file; another model's, found from an earlier run, is
        overwritten, as SB3's Monitor does.
        """
        folder, name = os.path.split(self.filename)
        stem = name.removesuffix(Monitor.EXT).rstrip(".")
        path = os.path.join(folder, f"{stem}.worker{worker}.{Monitor.EXT}".lstrip("."))
        header = {**self.header, "worker": worker}
        return ResultsWriter(path, header, self.extra_keys, override_existing=not _begins_with(path, header))


def _begins_with(path: str, header: dict[str, Any]) -> bool:
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as file:
        return file.readline() == f"#{json.dumps(header)}\n"
