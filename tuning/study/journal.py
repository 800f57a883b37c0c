"""Optuna's journal file, written to the disk once a trial instead of once a parameter."""

import json
import os
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file
from optuna.storages.journal._storage import JournalOperation

# what is known of a trial while it runs: lost with the trial, should the machine itself fail
_OF_A_RUNNING_TRIAL = frozenset(
    {
        JournalOperation.SET_TRIAL_PARAM,
        JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
        JournalOperation.SET_TRIAL_USER_ATTR,
        JournalOperation.SET_TRIAL_SYSTEM_ATTR,
    }
)


class DurableJournal(JournalFileBackend):
    """A journal that waits for the disk when a trial begins or ends, not for each of its parameters and attributes.

    Waiting takes milliseconds (6 ms on the disk this was measured on), and Optuna's own journal waits twenty times a
    trial. What a killed process has written is in the file without it, because the operating system keeps it; only a
    failing machine can lose what was not waited for, and that is at most what the running trials have noted, because
    waiting for their end waits for everything before it.

    Args:
        file_path: the journal.
        lock_obj: held while something is written.
    """

    def __init__(self, file_path: str, lock_obj: BaseJournalFileLock) -> None:
        super().__init__(file_path, lock_obj)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, each a line."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        wait = any(log["op_code"] not in _OF_A_RUNNING_TRIAL for log in logs)
        with get_lock_file(self._lock), open(self._file_path, "ab") as file:
            file.write(lines.encode("utf-8"))
            file.flush()
            if wait:
                os.fsync(file.fileno())
