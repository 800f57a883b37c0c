"""A PostgreSQL server of the tests' own, storages of both kinds, and studies that cost no training."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tuning import search_space
from tuning.evaluation import EpisodeResult
from tuning.study import objective as objective_module
from tuning.study.plan import plan_study
from tuning.study.runner import run_study

SPACE = {"learning_rate": {"type": "float", "low": 0.0, "high": 1.0}}
USER = "nobody"  # the server refuses to run as root


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server on loopback whose data directory is thrown away.

    Skipped, outside continuous integration, where Debian's `postgresql` is not installed; .ci/run installs it.
    """
    programs = _programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed, but continuous integration must test with it: see .ci/run")
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="actorzoo-postgres-"))
    user = USER if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"
    # without the group of root, which the server would refuse, too, on some systems
    rights = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    subprocess.run(
        [programs / "initdb", "--pgdata", data, "--username", "zoo", "--auth", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
        **rights,
    )
    port = _free_port()
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder}
    settings |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **rights
        )
    try:
        ready = [programs / "pg_isready", "--host", "127.0.0.1", "--port", str(port), "--timeout", "10"]
        for _ in range(100):
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                break
            if server.poll() is not None:
                pytest.fail((folder / "log").read_text())
            subprocess.run(["sleep", "0.1"], check=True)
        yield f"postgresql://zoo:secret@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: SIGTERM waits for clients, SIGINT writes what is thrown away
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres: str, request: pytest.FixtureRequest) -> str:
    """A fresh database."""
    import psycopg

    name = f"study_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgres}/{name}"


@pytest.fixture(params=["journal", "postgres"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of storage that several processes may share."""
    if request.param == "journal":
        return str(tmp_path / "study.journal")
    return request.getfixturevalue("postgres_url")


@pytest.fixture(autouse=True)
def _silent():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def plan():
    """Plan a small study of A2C in which the learning rate alone is searched."""

    def make(**settings):
        only = dict.fromkeys(search_space.find("a2c", "CartPole-v1").dimensions)  # None leaves a dimension out
        settings = {"n_timesteps": 100, "n_evaluations": 5, "space": only | SPACE, "sampler": "random"} | settings
        return plan_study("a2c", "CartPole-v1", **settings)

    return make


@pytest.fixture
def train_by(monkeypatch):
    """Replace training: `curve(config)` gives the mean return of each of the five evaluations, or raises."""

    def replace(curve):
        def train(config, training, report):
            for index, value in enumerate(curve(config), start=1):
                step = index * config.eval_freq
                training.add(step, 0.01 * step, [EpisodeResult(value, 1)])
                report(step, value)

        monkeypatch.setattr(objective_module, "train_for_trial", train)

    return replace


@pytest.fixture
def run(tmp_path_factory):
    """Run a planned study in this process, in a folder of its own unless one is given."""
    return lambda config, folder=None: run_study(config, folder or tmp_path_factory.mktemp("study"))


def _programs() -> Path | None:
    """The folder with PostgreSQL's server programs; Debian keeps them off the path."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
