"""Opening model files: SB3's rules for names, whole files or none."""

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ModelPath = str | os.PathLike[str] | io.BufferedIOBase

SUFFIX = ".zip"


@contextmanager
def open_for_writing(path: ModelPath) -> Iterator[io.BufferedRandom | io.BytesIO]:
    """A stream whose content appears under `path` when the block ends without an exception, and not before.

    Args:
        path: a name, which gets ".zip" where it has no suffix (missing folders are made), or an open binary stream.

    Raises:
        TypeError: neither.
        IsADirectoryError: the name is that of a folder.
    """
    if isinstance(path, io.BufferedIOBase):
        buffer = io.BytesIO()
        yield buffer
        path.write(buffer.getvalue())
        return
    named = _as_path(path)
    # behind a symbolic link, the file is replaced and the link stays
    target = Path(os.path.realpath(named if named.suffix else named.with_name(named.name + SUFFIX)))
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder, but a model is one file; give a name inside of it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("x+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def open_for_reading(path: ModelPath) -> Iterator[io.BufferedIOBase]:
    """The stream of a model file.

    Args:
        path: a name, with or without ".zip", or an open binary stream.

    Raises:
        TypeError: neither.
        FileNotFoundError: no such file.
    """
    if isinstance(path, io.BufferedIOBase):
        yield path
        return
    named = _as_path(path)
    with_suffix = named.with_name(named.name + SUFFIX)
    for candidate in (named, with_suffix):
        if candidate.is_file():
            with candidate.open("rb") as stream:
                yield stream
            return
    what = "is a folder" if named.is_dir() else "does not exist"
    raise FileNotFoundError(f"{named} {what} and {with_suffix} is no file either; give a file that agents.save wrote.")


def describe(path: ModelPath) -> str:
    """How to name the file in a message."""
    return "The stream" if isinstance(path, io.BufferedIOBase) else str(path)


def _as_path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike) or not Path(path).name:
        raise TypeError(
            f"Got {path!r} as a model file, but a file name or an open binary stream is needed; try 'model.zip'."
        )
    return Path(path)
