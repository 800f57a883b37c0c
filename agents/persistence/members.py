"""What `agents.save` adds to SB3's zip file: two members, a JSON record and an array file.

| member | content |
|---|---|
| `actorzoo/agent.json` | `format`: 1; `algo`: registry key; `class`: where it was defined; `normalized`: true, false |
| `actorzoo/normalization.npz` | the arrays of `wrappers.statistics_to_arrays`; only where `normalized` |

Nothing in them is ever executed: JSON, and arrays without pickle. SB3's loader reads the member `data` and those ending
in `.pth`, and passes over all others.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMAT = 1

_RECORD = "actorzoo/agent.json"
_STATISTICS = "actorzoo/normalization.npz"
_FIELDS = {"algo": str, "class": str, "normalized": bool}
_SB3_DATA = "data"
# what zipfile raises on damaged bytes, by where they are: its own error, or that of a field or stream read wrongly
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Contents:
    """What a model file holds besides SB3's part.

    Attributes:
        algo: registry key of the model's class; None in a file that SB3 wrote.
        class_name: module and name of that class, for messages; it is never imported.
        statistics: arrays of `wrappers.statistics_to_arrays`; None where the model saw raw observations.
    """

    algo: str | None = None
    class_name: str = ""
    statistics: Mapping[str, np.ndarray] | None = None


def append(stream: io.BufferedRandom | io.BytesIO, contents: Contents) -> None:
    """Add the members to a zip file that SB3 has just written into the stream."""
    record = {
        "format": FORMAT,
        "algo": contents.algo,
        "class": contents.class_name,
        "normalized": contents.statistics is not None,
    }
    with zipfile.ZipFile(stream, mode="a") as archive:
        archive.writestr(_RECORD, json.dumps(record, indent=2))
        if contents.statistics is not None:
            arrays = io.BytesIO()
            np.savez(arrays, **dict(contents.statistics))  # type: ignore[arg-type]
            archive.writestr(_STATISTICS, arrays.getvalue())


def read(stream: io.BufferedIOBase, name: str) -> Contents:
    """Check that the stream holds an intact model file, and read the members.

    Args:
        stream: the file; its position afterwards is undefined.
        name: how to call it in messages.

    Raises:
        ValueError: it is damaged, no model file, or written by a later version of this package.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"its member {damaged!r} has other content than its checksum says")
            names = archive.namelist()
            members = {member: archive.read(member) for member in (_RECORD, _STATISTICS) if member in names}
    except _DAMAGE as error:
        raise ValueError(
            f"{name} is not an intact zip file ({error}), but a model file is one; it may have been cut off while "
            "being copied: copy or save it again."
        ) from error
    if _SB3_DATA not in names:
        raise ValueError(
            f"{name} holds no model: it is a zip file, but SB3's member 'data' is missing; it may have been cut off "
            "while being copied, or be something else: give a file that agents.save or model.save wrote."
        )
    if _RECORD not in members:
        return Contents()
    record = _parse_record(members[_RECORD], name)
    statistics = _parse_arrays(members.get(_STATISTICS), name) if record["normalized"] else None
    return Contents(record["algo"], record["class"], statistics)


def _parse_record(text: bytes, name: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
        found = record["format"]
        wrong = [key for key, kind in _FIELDS.items() if not isinstance(record[key], kind)] if found == FORMAT else []
        if wrong:
            raise ValueError(f"{wrong[0]} is {record[wrong[0]]!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{name} holds a record ({_RECORD}) that cannot be read ({type(error).__name__}: {error}); "
            "load the file with its class's own load, or save the model again."
        ) from error
    if found != FORMAT:
        raise ValueError(
            f"{name} was written in format {found!r}, but this version of actorzoo reads format {FORMAT}; "
            "install the version that wrote it, or load the file with its class's own load."
        )
    return record


def _parse_arrays(content: bytes | None, name: str) -> dict[str, np.ndarray]:
    try:
        if content is None:
            raise ValueError("the member is missing")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (*_DAMAGE, TypeError, AttributeError) as error:
        raise ValueError(
            f"{name} holds no normalization statistics ({_STATISTICS}) that are plain arrays ({error}); "
            "save the model again from where it was trained."
        ) from error
