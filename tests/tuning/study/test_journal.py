"""The journal waits for the disk when a trial begins or ends, and loses nothing else that Optuna's would keep."""

import os

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tuning.study.journal import DurableJournal
from tuning.study.storage import JournalLock


def test_a_trial_waits_for_the_disk_at_its_ends_only(tmp_path, monkeypatch):
    waits = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: waits.append(handle) or fsync(handle))
    path = tmp_path / "journal.log"
    study = optuna.create_study(storage=JournalStorage(DurableJournal(str(path), JournalLock(path))))
    before = len(waits)

    def objective(trial):
        during = len(waits)
        for index in range(10):
            trial.suggest_float(f"x{index}", 0, 1)
            trial.report(0.0, index)
        trial.set_user_attr("a", 1)
        assert len(waits) == during
        return 1.0

    study.optimize(objective, n_trials=2)
    assert len(waits) - before == 4
    # what was written is what Optuna's own journal reads
    same = optuna.load_study(study_name=study.study_name, storage=JournalStorage(JournalFileBackend(str(path))))
    assert [trial.params for trial in same.trials] == [trial.params for trial in study.trials]
    assert same.trials[1].user_attrs == {"a": 1}
