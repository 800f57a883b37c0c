"""Files written whole or not at all: a temporary name in the same folder, then one `os.replace`."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tuning.errors import UsageError


def make_room(path: Path) -> Path:
    """Make the folder of a file that a user has named, where needed.

    Returns:
        The file.

    Raises:
        UsageError: there can be no such file; without this, one would learn it from a traceback.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path.parent} cannot be made ({error.strerror}); choose another place for {path.name}"
        ) from error
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path.parent} cannot be written to; choose another place for {path.name}")
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path with the target's ending; move it into place when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner alone; results are meant to be shared as the user's umask says
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an indented JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_yaml(path: Path, content: dict[str, Any], heading: str = "") -> None:
    """Write a YAML file in the order of `content`, whole or not at all; `heading` becomes comment lines at its top."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    write_text(path, comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
