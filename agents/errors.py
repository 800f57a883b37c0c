"""Errors that several packages raise."""


class MissingExtraError(ImportError):
    """An optional dependency is needed and not installed.

    The message has three parts: what was asked for, what it needs, and the command that installs it.

    Args:
        extra: the extra of the distribution `actorzoo` that brings the package, for example "atari".
        wanted: what the user asked for, as a noun phrase, for example "The environment ALE/Pong-v5".
        package: the distribution that is missing, for example "ale-py"; it becomes `name`, as in any ImportError.

    Attributes:
        extra: as given.
        install_command: what to type in a shell.
    """

    def __init__(self, extra: str, *, wanted: str, package: str) -> None:
        self.extra = extra
        self.install_command = f'pip install "actorzoo[{extra}]"'
        super().__init__(
            f"{wanted} needs the package {package}, which is not installed; install it with: {self.install_command}",
            name=package,
        )
