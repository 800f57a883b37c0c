"""The wheel carries what it needs, nothing else, and works without the checkout."""

import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = ("agents", "wrappers", "tuning")


@pytest.fixture
def installed(environment, wheel):
    environment.install(wheel)
    return environment


def test_the_wheel_holds_three_packages_their_types_the_zoo_and_the_license(wheel, checkout):
    names = set(ZipFile(wheel).namelist())

    sources = {str(path.relative_to(checkout)) for package in PACKAGES for path in (checkout / package).rglob("*.py")}
    zoo = {f"tuning/{path.relative_to(checkout)}" for path in (checkout / "zoo_configs").glob("*.yml")}
    assert zoo
    assert sources | zoo | {f"{package}/py.typed" for package in PACKAGES} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_holds_neither_tests_nor_anything_else_at_the_top(wheel):
    names = ZipFile(wheel).namelist()

    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert not [name for name in names if "__pycache__" in name or Path(name).name.startswith(("test_", "conftest"))]


def test_the_sdist_is_enough_to_build_the_same_wheel(wheel, checkout, tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path), "--target"]
    subprocess.run([*build, "sdist"], cwd=checkout, check=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    subprocess.run([*build, "wheel"], cwd=tmp_path / sdist.name.removesuffix(".tar.gz"), check=True)

    (rebuilt,) = tmp_path.glob("*.whl")
    assert sorted(ZipFile(rebuilt).namelist()) == sorted(ZipFile(wheel).namelist())


def test_installed_packages_are_imported_from_the_installation(installed):
    result = installed.run("python", "-c", "import agents, wrappers, tuning; print(agents.PPO, agents.__file__)")

    assert result.returncode == 0, result.stderr
    assert "stable_baselines3.ppo.ppo.PPO" in result.stdout
    assert str(installed.site_packages) in result.stdout


def test_the_installed_command_finds_its_zoo_of_configurations(installed, checkout):
    result = installed.run("actorzoo", "list")

    assert result.returncode == 0, result.stderr
    for config in (checkout / "zoo_configs").glob("*.yml"):
        assert config.stem in result.stdout
    assert "CartPole-v1" in result.stdout


def test_the_installed_command_explains_itself(installed):
    by_name = installed.run("actorzoo", "--help")
    by_module = installed.run("python", "-m", "tuning", "--help")

    assert by_name.returncode == 0, by_name.stderr
    assert "compare" in by_name.stdout
    assert by_module.stdout == by_name.stdout


def test_every_direct_dependency_is_pinned_to_a_version_its_range_allows(checkout):
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    lines = (checkout / "constraints.txt").read_text().splitlines()
    pins = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if line and not line.startswith("#"))
    }
    extras = project["project"]["optional-dependencies"]
    required = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in ("test", "dev", "docs", "atari", "box2d"):
        required += extras[extra]

    for requirement in map(Requirement, required):
        if requirement.name != "actorzoo":
            version = pins[canonicalize_name(requirement.name)]
            assert version in requirement.specifier, f"constraints.txt pins {requirement.name} to {version}"


def test_users_may_choose_their_own_versions(checkout):
    project = tomllib.loads((checkout / "pyproject.toml").read_text())

    exact = [text for text in project["project"]["dependencies"] if "==" in text]
    assert not exact
