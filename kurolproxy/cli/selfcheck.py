"""What ``serve`` makes sure of before it starts: the installation is whole, and nobody else's."""

from __future__ import annotations

import site
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

from kurolproxy.cli.failure import Refused

_CODE: Final = ("import ", "import\t")
# Of the tools that make environments; they only find packages.
_KNOWN: Final = ("distutils-precedence.pth", "_virtualenv.pth", "a1_coverage.pth")
_KNOWN_BEGINNING: Final = "__editable__."
_KNOWN_END: Final = "-nspkg.pth"


def check_installation(allowed: Collection[str] = ()) -> None:
    """Make sure that the code that runs is ours, and fast.

    Args:
        allowed: names of ``.pth`` files that may run code.

    Raises:
        Refused: with what to do about it.
    """
    _check_parsers()
    for path in unknown_pth(_site_folders(), allowed):
        raise Refused(
            f"{path} runs code whenever this Python starts, and is of no tool that is known"
            f" here: remove it, or say --allow-pth {path.name}"
        )
    for folder in open_to_all(sys.path):
        raise Refused(
            f"{folder} is among the folders that Python loads code from, and everybody may write"
            " there: start elsewhere, with PYTHONSAFEPATH=1 or `python -I -m kurolproxy`"
        )


def unknown_pth(folders: Iterable[Path], allowed: Collection[str]) -> Iterator[Path]:
    """Yield the ``.pth`` files that run code and that nobody has vouched for."""
    for folder in folders:
        for path in sorted(folder.glob("*.pth")):
            if not (_is_known(path.name) or path.name in allowed) and _runs_code(path):
                yield path


def open_to_all(entries: Iterable[str]) -> Iterator[str]:
    """Yield the folders of a module path that every user of the machine can write to."""
    for entry in entries:
        path = Path(entry or ".")
        try:
            mode = path.stat().st_mode
        except OSError:
            # Python loads nothing from there either.
            continue
        if stat.S_ISDIR(mode) and mode & stat.S_IWOTH:
            yield str(path.resolve())


def _check_parsers() -> None:
    parser = import_module("aiohttp.http_parser")
    if parser.HttpRequestParser is parser.HttpRequestParserPy:
        raise Refused(
            "aiohttp runs without its C parser: unset AIOHTTP_NO_EXTENSIONS, or install aiohttp"
            " from a wheel for this Python"
        )


def _site_folders() -> list[Path]:
    found = [*site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        found.append(site.getusersitepackages())
    return [Path(each) for each in found]


def _is_known(name: str) -> bool:
    return name in _KNOWN or name.startswith(_KNOWN_BEGINNING) or name.endswith(_KNOWN_END)


def _runs_code(path: Path) -> bool:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.startswith(_CODE) for line in lines)
