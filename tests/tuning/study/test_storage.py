"""Storages: what a URL means, which mistakes are told how, and what a kill may not do to a journal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from agents.errors import MissingExtraError
from tuning.errors import UsageError
from tuning.study.storage import (
    HIDDEN,
    JournalLock,
    drop_half_line,
    exclusive,
    journal_path,
    open_storage,
    password_environment,
    safe_url,
    serve,
)

SECRET = "postgresql://zoo:s3cret@db.example/studies"


def test_a_path_is_a_journal_with_or_without_its_prefix():
    assert journal_path("runs/study.journal") == Path("runs/study.journal")
    assert journal_path("journal:/data/a.journal") == Path("/data/a.journal")
    assert journal_path("journal:///data/a.journal") == Path("/data/a.journal")
    assert journal_path(SECRET) is None


def test_a_journal_keeps_what_was_told(tmp_path):
    study = optuna.create_study(storage=open_storage(tmp_path / "new" / "a.journal"), study_name="a")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    again = optuna.load_study(storage=open_storage(f"journal:{tmp_path}/new/a.journal"), study_name="a")
    assert [trial.params for trial in again.trials] == [trial.params for trial in study.trials]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("oracle://user:pw@host/db", "'oracle', which is not supported"),
        ("://nothing", "neither a path nor a URL"),
        ("grpc://localhost", "write grpc://HOST:PORT"),
    ],
)
def test_what_is_no_storage_is_refused_in_one_sentence_without_the_password(url, said):
    with pytest.raises(UsageError, match=said) as error:
        open_storage(url)
    assert "pw" not in str(error.value)


def test_sqlite_is_refused_for_several_workers_because_it_locks(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(UsageError, match=r"database is locked.*journal file"):
        open_storage(url, n_jobs=2)
    assert open_storage(url, n_jobs=1)


def test_a_missing_driver_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r'pip install "actorzoo\[postgres\]"') as error:
        open_storage(SECRET)
    assert "s3cret" not in str(error.value)
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(MissingExtraError, match=r'pip install "actorzoo\[mysql\]"'):
        open_storage("mysql://zoo@db.example/studies")


def test_a_server_that_does_not_answer_is_named_without_the_password():
    with pytest.raises(UsageError, match="cannot be used") as error:
        open_storage("postgresql://zoo:s3cret@127.0.0.1:1/studies")
    assert "s3cret" not in str(error.value)
    assert HIDDEN in str(error.value)


def test_passwords_are_hidden_where_written_and_travel_by_environment(monkeypatch, postgres_url):
    assert safe_url(SECRET) == "postgresql://zoo:***@db.example/studies"
    assert safe_url("runs/a.journal") == "runs/a.journal"
    assert password_environment(SECRET) == {"ACTORZOO_STORAGE_PASSWORD": "s3cret"}
    assert password_environment("runs/a.journal") == {}
    # the hidden form works where the environment has the password, as in a worker
    monkeypatch.setenv("ACTORZOO_STORAGE_PASSWORD", "secret")
    storage = open_storage(safe_url(postgres_url))
    assert storage.get_all_studies() == []


def test_half_a_line_of_a_killed_writer_does_not_make_a_journal_unreadable(tmp_path):
    path = tmp_path / "a.journal"
    study = optuna.create_study(storage=open_storage(path), study_name="a")
    study.set_user_attr("n", 1)
    with path.open("ab") as file:
        file.write(b'{"op_code":2,"worker_id":"x","stu')
    again = optuna.load_study(storage=open_storage(path), study_name="a")
    again.set_user_attr("m", 2)  # without the repair this line would follow the half one, and neither be readable
    assert optuna.load_study(storage=open_storage(path), study_name="a").user_attrs == {"n": 1, "m": 2}
    assert study.user_attrs == {"n": 1, "m": 2}  # a process that has read up to there, too


def test_cutting_half_a_line_leaves_whole_lines_alone(tmp_path):
    path = tmp_path / "file"
    for before, after in [(b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"a", b"")]:
        path.write_bytes(before)
        drop_half_line(path)
        assert path.read_bytes() == after


def test_a_killed_holder_of_the_journals_lock_holds_nobody_up(tmp_path):
    # Optuna's own lock would make everybody wait for 30 seconds here
    path = tmp_path / "a.journal"
    path.touch()
    code = (
        "import sys, time, pathlib; from tuning.study.storage import JournalLock;"
        f"JournalLock(pathlib.Path({str(path)!r})).acquire(); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    before = time.monotonic()
    lock = JournalLock(path)
    assert lock.acquire()
    lock.release()
    assert time.monotonic() - before < 10


def test_the_studys_lock_lets_one_process_in_at_a_time(storage_url, tmp_path):
    # each process reads a number, waits, and writes it back plus one: without the lock some would be lost
    counter = tmp_path / "counter"
    counter.write_text("0")
    code = (
        "import pathlib, time; from tuning.study.storage import exclusive\n"
        f"path = pathlib.Path({str(counter)!r})\n"
        "for _ in range(5):\n"
        f"    with exclusive({storage_url!r}, 'study'):\n"
        "        n = int(path.read_text()); time.sleep(0.005); path.write_text(str(n + 1))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert counter.read_text() == "10"


def test_one_studys_lock_does_not_hold_up_another(postgres_url):
    with exclusive(postgres_url, "one"), exclusive(postgres_url, "two"):
        pass


def test_a_proxy_is_refused_before_what_it_cannot_serve(tmp_path):
    with pytest.raises(UsageError, match="cannot be served"):
        serve(str(tmp_path / "a.journal"))
