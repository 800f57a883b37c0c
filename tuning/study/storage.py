"""Where a study's trials are kept, and who may change what two processes must not change at the same time.

| `--storage` | what it is | for |
|---|---|---|
| `PATH` or `journal:PATH` | a journal file: nothing to start, nothing to install | all workers on one machine |
| `postgresql://...`, `mysql://...` | a database server, with heartbeats | many machines |
| `grpc://HOST:PORT` | Optuna's proxy before a database | many machines that do not reach the database |
| `sqlite:///PATH` | a file; SQLite's locks fail under parallel writers | one worker |

A password in a URL is never written down: files hold `***` in its place, and worker processes get it by their
environment.
"""

import fcntl
import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal._file import BaseJournalFileLock
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from agents.errors import MissingExtraError
from tuning.errors import UsageError
from tuning.study.journal import DurableJournal

JOURNAL = "journal:"
GRPC = "grpc://"
HIDDEN = "***"
PASSWORD_VARIABLE = "ACTORZOO_STORAGE_PASSWORD"  # noqa: S105 - the variable's name
HEARTBEAT_SECONDS = 30
GRACE_PERIODS = 3  # heartbeats that may be missed before a trial counts as lost
LOCK_SECONDS = 60  # what is done under the lock takes milliseconds
_TRIES = 5

# dialect -> (driver, extra, package) where the URL names no driver
_DRIVERS = {
    "postgresql": ("psycopg", "postgres", "psycopg[binary]"),
    "mysql": ("pymysql", "mysql", "pymysql"),
    "mariadb": ("pymysql", "mysql", "pymysql"),
}


def open_storage(
    url: str | PathLike[str],
    *,
    n_jobs: int = 1,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> BaseStorage:
    """Connect to a study's storage; a journal file and a database's tables are made where there are none.

    Args:
        url: see this module's table; a path is a journal file.
        n_jobs: worker processes that will use it.
        heartbeat_seconds: how often a worker reports to a database that its trial is alive; after three times as long
            without a report the trial counts as lost (see `tuning.study.lost_trials`).

    Returns:
        The storage.

    Raises:
        UsageError: not understood, not reachable, or SQLite with several workers.
        MissingExtraError: the database's driver is not installed.
    """
    text = os.fspath(url)
    if (path := journal_path(text)) is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(DurableJournal(str(path), JournalLock(path)))
    if text.startswith(GRPC):
        return _proxy(text)
    return _database(database_url(text), n_jobs, heartbeat_seconds)


def journal_path(url: str) -> Path | None:
    """The journal file that a storage names; None if it is of another kind."""
    if url.startswith(JOURNAL):
        return Path(url.removeprefix(JOURNAL).removeprefix("//") if "://" in url else url.removeprefix(JOURNAL))
    return None if "://" in url else Path(url)


def database_url(url: str) -> URL:
    """SQLAlchemy's URL, with the driver that the extras install and the password from the environment.

    Raises:
        UsageError: no URL, or a database that is not supported.
        MissingExtraError: its driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(f"--storage {safe_url(url)} is neither a path nor a URL; {_ALLOWED}") from error
    dialect = parsed.get_backend_name()
    if dialect not in {*_DRIVERS, "sqlite"}:
        raise UsageError(f"--storage {safe_url(url)} names {dialect!r}, which is not supported; {_ALLOWED}")
    if parsed.password == HIDDEN:
        parsed = parsed.set(password=os.environ.get(PASSWORD_VARIABLE))
    if "+" not in parsed.drivername and dialect in _DRIVERS:
        parsed = parsed.set(drivername=f"{dialect}+{_DRIVERS[dialect][0]}")
    try:
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        _, extra, package = _DRIVERS.get(dialect, ("", "", parsed.drivername))
        raise MissingExtraError(extra, wanted=f"The storage {safe_url(url)}", package=package) from error
    except SQLAlchemyError as error:
        raise UsageError(f"--storage {safe_url(url)}: {error}; {_ALLOWED}") from error
    return parsed


def safe_url(url: str) -> str:
    """The storage as it may be shown and written: the password is hidden."""
    try:
        return url if "://" not in url else make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        before, at, after = url.rpartition("@")
        return f"{before.partition('://')[0]}://{HIDDEN}@{after}" if at else url


def password_environment(url: str) -> dict[str, str]:
    """What a worker process' environment needs, so that it can use a storage whose password is hidden in files."""
    if "://" not in url or url.startswith(GRPC):
        return {}
    password = make_url(url).password
    return {} if password in (None, HIDDEN) else {PASSWORD_VARIABLE: str(password)}


@contextmanager
def exclusive(url: str, study_name: str) -> Iterator[None]:
    """One process at a time, wherever it runs; a holder that dies lets go at once.

    A journal is guarded by the kernel's lock on a file beside it, a database by a lock that belongs to a connection
    (`pg_advisory_lock`, `GET_LOCK`). A gRPC proxy has no such thing: there, the processes of one machine are kept
    apart.

    Args:
        url: the storage.
        study_name: the study; others are not held up.

    Raises:
        TimeoutError: another process holds the lock for a minute.
    """
    path = journal_path(url)
    parsed = None if path is not None or url.startswith(GRPC) else database_url(url)
    if parsed is not None and parsed.get_backend_name() != "sqlite":
        with _database_lock(parsed, study_name):
            yield
        return
    if path is None:
        path = Path(tempfile.gettempdir()) / f"actorzoo-{os.getuid()}-{_digest(url, study_name)}"
    with _locked(path.with_name(f"{path.name}.claims")):
        yield


class JournalLock(BaseJournalFileLock):
    """The kernel's lock (`flock`) on a file beside the journal.

    Optuna's own lock is a link that somebody must remove: after a `kill -9` of its holder everybody waits for 30 s.
    The kernel lets go with the process. A holder that was killed while it wrote may have left half a line at the
    journal's end, which would make the whole file unreadable as soon as the next line follows; it is cut off here.

    Args:
        journal: the journal file.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        handle = os.open(f"{self._journal}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            drop_half_line(self._journal)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        """Let go."""
        assert self._handle is not None
        os.close(self._handle)
        self._handle = None


def drop_half_line(journal: Path) -> None:
    """Cut off what follows the last line's end; call with the lock held."""
    with journal.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        while keep:
            file.seek(keep - 1)
            if file.read(1) == b"\n":
                break
            keep -= 1
        if keep < end:
            file.truncate(keep)


def serve(url: str, host: str = "localhost", port: int = 13000) -> None:
    """Run Optuna's gRPC proxy before a database until it is interrupted.

    Args:
        url: the database.
        host: where to listen; 0.0.0.0 for other machines. The connection is neither encrypted nor authenticated.
        port: a TCP port.

    Raises:
        UsageError: the storage is no database.
    """
    if journal_path(url) is not None or url.startswith((GRPC, "sqlite")):
        raise UsageError(
            f"--storage {safe_url(url)} cannot be served; the gRPC proxy stands before PostgreSQL or MySQL"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.run_grpc_proxy_server(open_storage(url), host=host, port=port)


_ALLOWED = (
    "allowed are a file (study.journal), postgresql://USER:PASSWORD@HOST/DATABASE, mysql://..., grpc://HOST:PORT, and "
    "sqlite:///FILE with one worker"
)


def _proxy(url: str) -> BaseStorage:
    host, colon, port = url.removeprefix(GRPC).rstrip("/").rpartition(":")
    if not colon or not host or not port.isdigit():
        raise UsageError(f"--storage {url}: write grpc://HOST:PORT, for example grpc://localhost:13000")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = GrpcStorageProxy(host=host, port=int(port))
    try:
        storage.wait_server_ready(timeout=10)
    except ConnectionError as error:
        raise UsageError(f"No gRPC proxy answers at {url}; start one, see docs/tuning_storage.md") from error
    return storage


def _database(url: URL, n_jobs: int, heartbeat_seconds: int) -> BaseStorage:
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        if n_jobs > 1:
            raise UsageError(
                f"--storage {shown} with {n_jobs} workers: SQLite fails with 'database is locked' when several "
                "processes write; use a journal file (--storage study.journal), a database server, or one worker"
            )
        return get_storage(RDBStorage(url.render_as_string(hide_password=False)))
    for attempt in range(1, _TRIES + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return get_storage(
                    RDBStorage(
                        url.render_as_string(hide_password=False),
                        engine_kwargs={"pool_pre_ping": True},
                        heartbeat_interval=heartbeat_seconds,
                        grace_period=GRACE_PERIODS * heartbeat_seconds,
                    )
                )
        except DatabaseError as error:
            # workers that meet an empty database at the same time all make the tables; the losers just look again
            if attempt == _TRIES or ("already exists" not in str(error) and "uplicate" not in str(error)):
                cause = str(error.orig).strip().splitlines()[0]
                raise UsageError(f"--storage {shown} cannot be used ({cause}); check that the server runs") from None
            time.sleep(0.1 * attempt)
    raise AssertionError("unreachable")


@contextmanager
def _database_lock(url: URL, study_name: str) -> Iterator[None]:
    digits = _digest(url.database or "", study_name)
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        if url.get_backend_name() == "postgresql":
            connection.execute(sqlalchemy.text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": int(digits[:15], 16)})
        else:
            taken = connection.execute(
                sqlalchemy.text("SELECT GET_LOCK(:key, :seconds)"), {"key": digits, "seconds": LOCK_SECONDS}
            ).scalar()
            if taken != 1:
                raise TimeoutError(f"the lock of the study {study_name} was not released for {LOCK_SECONDS} s")
        connection.commit()
        yield  # the lock belongs to the connection and ends with it


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]
