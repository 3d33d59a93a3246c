"""How a verb fails: one line on stderr and an exit code."""

from __future__ import annotations

from typing import IO, Any, ClassVar

import click


class Failed(click.ClickException):
    """The verb could not do its work.

    Args:
        message: what was wrong and what to do; never a key or a password.
    """

    exit_code: ClassVar[int] = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message to stderr."""
        click.echo(f"kurolproxy: {self.format_message()}", file=file, err=file is None)


class CannotConnect(Failed):
    """Nobody answered at the address."""

    exit_code = 3


class Refused(Failed):
    """``serve`` does not start with this configuration or in this environment.

    Source: ``EX_CONFIG`` of sysexits.h; the unit's ``RestartPreventExitStatus`` names it.
    """

    exit_code = 78
