"""`python -m tuning ...` and the `actorzoo` command: make sure that the packages are ours, then hand over.

Nothing here may import `agents` or `wrappers` before that is known: where another distribution, file or folder has
taken the name, that would run foreign code, or end in an ImportError that does not say why.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main() -> None:
    """Run one command and leave the process with its exit code; 2 if a package's name is taken."""
    if problem := _find_foreign_package():
        print(f"actorzoo: {problem}", file=sys.stderr)
        sys.exit(2)
    from tuning import cli

    cli.main()


def _find_foreign_package() -> str | None:
    """Run agents/_clash.py by its place; by its name, whatever is called `agents` here would be imported first."""
    spec = spec_from_file_location("actorzoo_clash", Path(__file__).parents[1] / "agents" / "_clash.py")
    assert spec is not None
    assert spec.loader is not None
    clash = module_from_spec(spec)
    spec.loader.exec_module(clash)
    problem: str | None = clash.find_foreign(("agents", "wrappers"))
    return problem


if __name__ == "__main__":
    main()
