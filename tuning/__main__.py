"""`python -m tuning ...` is the `actorzoo` command."""

from tuning.cli import main

if __name__ == "__main__":
    main()
