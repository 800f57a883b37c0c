"""`make` prepares the environment once, with a Python that will do, and explains itself."""

import os
import re
import shutil
import subprocess

import pytest

INSTALLED = (".created", ".installed-package", ".installed-dev", ".installed-docs")


@pytest.fixture
def clone(checkout, tmp_path):
    """The files make reads, in a folder without an environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(checkout / name, tmp_path)
    return tmp_path


@pytest.fixture
def make(clone):
    def make(*arguments):
        # The make that may be running these tests must not pass its own settings on.
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(
            ["make", *arguments], cwd=clone, env=variables, capture_output=True, text=True, check=False
        )

    return make


@pytest.fixture
def installed(clone):
    """As after an installation: every stamp is newer than what it depends on."""
    (clone / ".venv").mkdir()
    for age, name in enumerate(["pyproject.toml", "constraints.txt", *(f".venv/{stamp}" for stamp in INSTALLED)]):
        (clone / name).touch()
        os.utime(clone / name, (1_000_000 + age, 1_000_000 + age))
    return clone


def test_a_python_that_will_not_do_is_named_with_the_way_out(make, clone):
    result = make("PYTHON=/no/such/python", "demo")

    assert result.returncode == 2
    assert "3.11, 3.12 or 3.13" in result.stderr
    assert "/no/such/python" in result.stderr
    assert "make PYTHON=" in result.stderr
    assert not (clone / ".venv").exists()


def test_without_a_target_every_target_is_explained(make, clone):
    targets = re.search(r"^\.PHONY: (.*)$", (clone / "Makefile").read_text(), re.MULTILINE).group(1).split()

    result = make()
    assert result.returncode == 0
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^  {target} +\S", result.stdout, re.MULTILINE), target


@pytest.mark.parametrize("target", ["demo", "test", "lint", "type", "docs"])
def test_a_second_call_installs_nothing(make, installed, target):
    result = make("--dry-run", target)

    assert result.returncode == 0, result.stderr
    assert "pip" not in result.stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_what_is_asked_for_having_changed_is_installed_again(make, installed, changed):
    (installed / changed).touch()

    result = make("--dry-run", "test")
    assert "pip" in result.stdout
    assert "--constraint constraints.txt" in result.stdout


@pytest.mark.parametrize(
    ("failing", "called", "status"),
    [("none", ["lint", "type", "test"], 0), ("type", ["lint", "type"], 3), ("test", ["lint", "type", "test"], 3)],
)
def test_continuous_integration_fails_with_the_first_target_that_fails(checkout, tmp_path, failing, called, status):
    stand_in = tmp_path / "make"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n[ "$1" != {failing} ] || exit 3\n')
    stand_in.chmod(0o755)

    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run([checkout / ".ci" / "run"], env={**os.environ, "PATH": path}, check=False)
    assert result.returncode == status
    assert (tmp_path / "called").read_text().split() == called
