"""What is wrong with a configuration file, collected until all of it is known."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from kurolproxy.config.positions import Path, Positions

Severity = Literal["error", "warning"]
_QUOTED_CHARS = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file.

    Attributes:
        path: the file's name, as it was given.
        line: from 1; 0 when the problem is not about one place.
        column: in characters, from 1.
        message: what is wrong and what to do; never a resolved value.
    """

    path: str
    line: int
    column: int
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        mark = "warning: " if self.severity == "warning" else ""
        return f"{place}: {mark}{self.message}"


class ConfigError(Exception):
    """A file that cannot be used.

    Args:
        problems: every error of the file, in the order of its lines. Its warnings come
            with a valid configuration: many would only repeat what an error leads to.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @property
    def warnings(self) -> list[Problem]:
        """The warnings among the problems."""
        return [problem for problem in self.problems if problem.severity == "warning"]


class Report:
    """Collects the problems of one file.

    Args:
        name: the file's name.
        positions: where everything stands in it.
        document: the file's values before references were resolved: the only text that a
            message may quote.
    """

    def __init__(self, name: str, positions: Positions, document: dict[str, Any]) -> None:
        self._name = name
        self._positions = positions
        self._document = document
        self._problems: list[Problem] = []

    def error(self, path: Path, message: str) -> None:
        """Note what makes the file unusable."""
        self._problems.append(self._problem(path, message, "error"))

    def warn(self, path: Path, message: str) -> None:
        """Note what the operator should know."""
        self._problems.append(self._problem(path, message, "warning"))

    def line(self, path: Path) -> int:
        """Return the line of a value."""
        return self._positions.at(path).line

    def written(self, path: Path) -> Any:
        """Return a value as the file has it, references unresolved; None when it has none."""
        value: Any = self._document
        for step in path:
            if isinstance(value, dict) and isinstance(step, str):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int):
                value = value[step]
            else:
                return None
        return value

    def quote(self, path: Path) -> str:
        """Return a text of the file as a message may show it."""
        return quote(str(self.written(path)))

    def sorted(self, severity: Severity) -> list[Problem]:
        """Return the problems of one severity in the order of the file."""
        found = [problem for problem in self._problems if problem.severity == severity]
        return sorted(found, key=lambda each: (each.line, each.column))

    def _problem(self, path: Path, message: str, severity: Severity) -> Problem:
        place = self._positions.at(path)
        return Problem(self._name, place.line, place.column, message, severity)


def quote(text: str) -> str:
    """Return ``text`` in quotes, on one line, without control characters, cut when long."""
    cut = text if len(text) <= _QUOTED_CHARS else text[:_QUOTED_CHARS] + "..."
    return json.dumps(cut, ensure_ascii=not cut.isprintable())


def did_you_mean(wrong: str, known: Iterable[str], shown: Callable[[str], str] = quote) -> str:
    """Return ``; did you mean "..."?`` for the nearest of ``known``, or nothing.

    Args:
        shown: how the suggestion is written.
    """
    near = difflib.get_close_matches(wrong, list(known), n=1)
    return f"; did you mean {shown(near[0])}?" if near else ""
