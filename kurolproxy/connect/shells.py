"""Commands of bash and of PowerShell."""

from __future__ import annotations

from collections.abc import Mapping

from kurolproxy.connect.quoting import powershell, sh
from kurolproxy.connect.wanted import KEY_VARIABLE, SHELL, Shell, Step, Wanted


def variable(shell: Shell) -> str:
    """Return the key's variable as a shell reads it, as a word of its own."""
    return f'"${KEY_VARIABLE}"' if shell == "bash" else f"$env:{KEY_VARIABLE}"


def word(shell: Shell, text: str) -> str:
    """Return a word of a command."""
    return sh(text) if shell == "bash" else powershell(text)


def key_word(wanted: Wanted) -> str:
    """Return the key as a word of a command, or the variable that holds it."""
    return variable(wanted.shell) if wanted.key is None else word(wanted.shell, wanted.key)


def command(shell: Shell, program: str, *arguments: str) -> str:
    """Return one command; the arguments are words already."""
    return " ".join((program, *arguments))


def exports(shell: Shell, values: Mapping[str, str]) -> str:
    """Return commands that set environment variables; the values are words already."""
    form = "export {}={}" if shell == "bash" else "$env:{} = {}"
    return "\n".join(form.format(name, value) for name, value in values.items())


def shell_step(wanted: Wanted, title: str, text: str, note: str = "") -> Step:
    """Return a step that is typed into a shell."""
    return Step(title, SHELL, wanted.shell, text, note)
