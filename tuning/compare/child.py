"""One training process: started in a process group of its own, watched, and ended with everything it started."""

import json
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from tuning.compare.jobs import Job
from tuning.files import write_json, write_text
from tuning.recorder import create_run
from tuning.runs import RunFolder

#: Read once, when the libraries below torch and NumPy are imported: too late inside the training process.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
LOG = "log.txt"
ERROR_LINES = 50  # of a log, as the error of a run that did not record its own


class Child:
    """A job that is running.

    Its output goes to a file without a name, because the run folder that will hold it does not exist yet.

    Args:
        job: what to train.
        command: the command line that does it.
    """

    def __init__(self, job: Job, command: list[str]) -> None:
        self.job = job
        self._command = command
        self._before = {run.path for run in job.attempts()}
        self._run: RunFolder | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `record`
        threads = {name: str(job.config.threads) for name in THREAD_VARIABLES}
        # A session of its own: the terminal's Ctrl-C does not reach it, we pass it on; and whatever it has started can
        # be ended with it, also when it has died itself.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | threads,
            start_new_session=True,
        )

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Ask it to stop as Ctrl-C does: it stops its workers itself and marks its run as interrupted."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def run(self) -> RunFolder | None:
        """Its run folder; None as long as it has made none."""
        if self._run is None:
            new = [run for run in self.job.attempts() if run.path not in self._before]
            self._run = new[-1] if new else None
        return self._run

    def end(self, interrupted: bool = False) -> RunFolder | None:
        """Kill what is left of its process group; keep its log; make sure that its folder says how it ended.

        A run that died before it had a folder gets one, so that it is not lost from the table. One that was
        interrupted that early left no trace and needs none.

        Args:
            interrupted: whether it was told to stop.

        Returns:
            Its run folder; None if it was interrupted before it had one.
        """
        with suppress(ProcessLookupError):  # nothing is left
            os.killpg(self._process.pid, signal.SIGKILL)
        exit_code = self._process.wait()
        with self._log:
            self._log.seek(0)
            log = self._log.read().decode(errors="replace")
        run = self.run()
        if run is None and interrupted:
            return None
        if run is None:
            run = create_run(self.job.config, self.job.runs_dir, command=self._command).folder
        write_text(run.path / LOG, log)
        status = json.loads((run.path / "status.json").read_text(encoding="utf-8"))
        if status["status"] == "running":
            write_json(run.path / "status.json", status | _ending(exit_code, interrupted, log))
        return run


def _ending(exit_code: int, interrupted: bool, log: str) -> dict[str, Any]:
    """What status.json says of a run that could not say it itself."""
    now = {"updated": datetime.now(UTC).isoformat(timespec="seconds")}
    if interrupted:
        return now | {"status": "interrupted", "error": None, "error_line": None}
    lines = [line for line in log.splitlines() if line.strip()]
    if exit_code < 0:
        line = f"killed by {signal.Signals(-exit_code).name}" + (" (out of memory?)" if exit_code == -9 else "")
    elif exit_code == 0:
        line = "the process ended without finishing its run"
    else:
        line = lines[-1].strip() if lines else f"the process ended with exit code {exit_code}"
    return now | {"status": "failed", "error": "\n".join([*lines[-ERROR_LINES:], line]), "error_line": line}
