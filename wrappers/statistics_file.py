"""Named arrays in a file: written whole or not at all, read without executing anything."""

import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to one `.npz` file under exactly the name given.

    Args:
        path: of the file; an old one is replaced at once.
        arrays: by name, none of object type.

    Raises:
        ValueError: an array is of object type, which only pickle could write.
        OSError: the file cannot be written; an old one is left as it was.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype == object:
            raise ValueError(f"The array {name!r} is of object type, but only plain types are written; convert it.")
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **dict(arrays))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote.

    Raises:
        ValueError: the file is no such file.
        OSError: the file cannot be read.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        with file:
            return dict(file)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{os.fspath(path)} is no file of named arrays ({error}); give a file that save or save_statistics wrote."
        ) from error
