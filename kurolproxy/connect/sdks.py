"""Calls of the gateway by curl, PowerShell, Python and Node."""

from __future__ import annotations

from typing import Final

from kurolproxy.connect.calls import ENDPOINTS, Call, in_bash, in_powershell
from kurolproxy.connect.programs import NODE_PACKAGES, PYTHON_PACKAGES, in_node, in_python
from kurolproxy.connect.quoting import powershell
from kurolproxy.connect.shells import shell_step
from kurolproxy.connect.wanted import Step, Wanted
from kurolproxy.ir import ProtocolName

# Each SDK is shown once: whose it is, its file's name, and the endpoint that it calls.
_SDKS: Final[tuple[tuple[str, str, ProtocolName], ...]] = (
    ("OpenAI's SDK", "openai_hello", "openai-chat"),
    ("Anthropic's SDK", "anthropic_hello", "anthropic"),
    ("Google's SDK", "google_hello", "gemini"),
)


def curl(wanted: Wanted) -> list[Step]:
    """Return one call in each protocol: by curl, or by PowerShell's own command."""
    calls = [_call(wanted, name) for name in ENDPOINTS]
    return [
        shell_step(
            wanted,
            f"Call {each.endpoint.label}",
            in_bash(each, stream=True) if wanted.shell == "bash" else in_powershell(each),
        )
        for each in calls
    ]


def python_sdks(wanted: Wanted) -> list[Step]:
    """Return a program for each vendor's SDK of Python."""
    packages = " ".join(PYTHON_PACKAGES[name] for _, _, name in _SDKS)
    programs = (
        Step(title, f"{file}.py", "python", in_python(_call(wanted, name), stream=True))
        for title, file, name in _SDKS
    )
    return [shell_step(wanted, "Install", f"pip install {packages}"), *programs]


def node_sdks(wanted: Wanted) -> list[Step]:
    """Return a program for each vendor's SDK of Node."""
    packages = [NODE_PACKAGES[name] for _, _, name in _SDKS]
    if wanted.shell == "powershell":
        # There, a bare @ would begin a list of arguments.
        packages = [powershell(each) if "@" in each else each for each in packages]
    programs = (
        Step(title, f"{file}.mjs", "javascript", in_node(_call(wanted, name), stream=True))
        for title, file, name in _SDKS
    )
    return [shell_step(wanted, "Install", f"npm install {' '.join(packages)}"), *programs]


def _call(wanted: Wanted, name: str) -> Call:
    return Call(wanted.base_url, wanted.model.id, ENDPOINTS[name], wanted.key)
