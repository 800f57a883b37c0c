"""Finds out whether `agents`, `wrappers` and `tuning` are really ours.

The names are short, and others use them: openai-agents, too, installs a package called `agents`, and a folder or
script called `wrappers` beside one's own script is as likely. Python then takes whichever comes first on `sys.path`,
and in one site-packages folder whichever was installed last overwrites the other's files without a word. What follows
is an AttributeError that explains nothing, so this module explains it.

It imports none of the three packages and is a file of its own: the command line runs it by its place, because importing
`agents` would run whoever has taken that name.
"""

import os
import warnings
from importlib.util import find_spec
from pathlib import Path

NAMES = ("agents", "wrappers", "tuning")
HOME = Path(__file__).parents[1]  # where all three lie: site-packages, or a checkout

_REMEDY = "Install actorzoo into a virtual environment of its own (python -m venv)."


class NameClashWarning(UserWarning):
    """Another installed distribution has a package of the same name, which cannot be imported while ours is."""


def check_import() -> None:
    """What `import agents` does first.

    Warns:
        NameClashWarning: another distribution brings one of the three names, but ours is the one in use.

    Raises:
        ImportError: `wrappers`, which `agents` is built on, is not ours.
    """
    if problem := find_foreign(("wrappers",)):
        raise ImportError(problem)
    for distribution, names in other_distributions().items():
        packages = " and ".join(f"`{name}`" for name in names)
        warnings.warn(
            f"{distribution} installs {packages}, too; here actorzoo's is imported, and {distribution} will not work. "
            f"{_REMEDY}",
            NameClashWarning,
            stacklevel=3,  # the line that says `import agents`
        )


def find_foreign(names: tuple[str, ...]) -> str | None:
    """Look for a name that does not lead to our package.

    Args:
        names: those of `NAMES` that are needed.

    Returns:
        What was found in place of the first name that leads elsewhere and what to do, in one line; None if all is well.
    """
    for name in names:
        spec = find_spec(name)
        folders = [] if spec is None else list(spec.submodule_search_locations or ())
        is_at_home = any(_is_same_folder(Path(folder).parent, HOME) for folder in folders)
        if spec is None or (spec.origin is None and is_at_home):
            return (
                f"{HOME / name / '__init__.py'} is missing; another distribution may have overwritten it and taken it "
                f"along when it was removed. Install again: pip install --force-reinstall --no-deps actorzoo"
            )
        if is_at_home and not _is_overwritten(name):
            continue
        found = f"`import {name}` finds {spec.origin or ', '.join(folders)}"
        if owners := [owner for owner, its_names in other_distributions().items() if name in its_names]:
            return f"{found} of {' or '.join(owners)}, not actorzoo's package of that name. {_REMEDY}"
        if not is_at_home:
            return (
                f"{found}, not actorzoo's package of that name. Rename that file or folder, or start Python elsewhere."
            )
    return None


def other_distributions() -> dict[str, list[str]]:
    """Installed distributions besides actorzoo that bring a top-level module of one of our names.

    Returns:
        "name version" -> the names it brings, in the order of `NAMES`.
    """
    from importlib.metadata import distributions

    found = {}
    for distribution in distributions():
        # Searched as text: to parse every distribution's name or list of files takes ten times as long.
        files = "\n" + (distribution.read_text("RECORD") or "")
        top_level = (distribution.read_text("top_level.txt") or "").split()
        names = [name for name in NAMES if f"\n{name}/" in files or f"\n{name}.py," in files or name in top_level]
        if names and distribution.name.lower() != "actorzoo":
            found[f"{distribution.name} {distribution.version}"] = names
    return found


def _is_overwritten(name: str) -> bool:
    """Whether the package's __init__.py differs from the one the wheel brought (never in a checkout)."""
    from base64 import urlsafe_b64encode
    from hashlib import sha256
    from importlib.metadata import distributions

    for distribution in distributions(name="actorzoo", path=[str(HOME)]):
        for file in distribution.files or ():
            if file.as_posix() == f"{name}/__init__.py" and file.hash is not None:
                digest = urlsafe_b64encode(sha256(file.read_binary()).digest()).rstrip(b"=").decode()
                return file.hash.mode == "sha256" and digest != file.hash.value
    return False


def _is_same_folder(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
