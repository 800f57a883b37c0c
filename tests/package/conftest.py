"""Environments to install into: a fresh one a test, filled in a second because it borrows our dependencies."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its folder, and a folder outside it and outside the checkout to start programs in."""

    folder: Path
    outside: Path

    @property
    def site_packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(self.folder)}))

    def pip(self, *arguments: str) -> None:
        """Run our pip on this environment; it may not look for anything on the net."""
        python = str(self.folder / "bin" / "python")
        subprocess.run([sys.executable, "-m", "pip", "--quiet", "--python", python, *arguments], check=True)

    def install(self, wheel: Path, *options: str) -> None:
        self.pip("install", "--no-index", "--no-deps", *options, str(wheel))

    def run(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs, capturing what it prints."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.outside,
            env={**inherited, **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Without actorzoo; a .pth file lends it our dependencies (not the checkout: such files are not followed twice)."""
    folder, outside = tmp_path / "environment", tmp_path / "outside"
    venv.create(folder)
    outside.mkdir()
    environment = Environment(folder, outside)
    (environment.site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout with the pinned build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(CHECKOUT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[[str, dict[str, str]], Path]:
    """A function `(distribution name, {path: content}) -> wheel` for throw-away distributions of version 1.0."""

    def make(name: str, files: dict[str, str]) -> Path:
        stem = f"{name.replace('-', '_')}-1.0"
        metadata = {
            f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{path},,\n" for path in [*files, *metadata, f"{stem}.dist-info/RECORD"])
        path = tmp_path / f"{stem}-py3-none-any.whl"
        with ZipFile(path, "w") as archive:
            for inner, content in {**files, **metadata, f"{stem}.dist-info/RECORD": record}.items():
                archive.writestr(inner, content)
        return path

    return make
