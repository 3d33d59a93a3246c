"""Arguments of a call that come in pieces, each with the path of where it belongs (Vertex)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from kurolproxy.protocols import wire

_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]]+)|\[(?P<index>[0-9]{1,6})\]"""
    r"""|\['(?P<single>(?:[^'\\]|\\.)*)'\]|\["(?P<double>(?:[^"\\]|\\.)*)"\]""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MAX_STEPS = 64
# Elements that an array may leave out before the one that is named.
_MAX_GAP = 64

Step = str | int


class _MalformedPath(ValueError):
    """A path that leads nowhere."""


class PartialArguments:
    """The arguments of one call, growing.

    A text may come in several pieces, all with its path; ``willContinue`` says that more
    of it follows.

    Args:
        begun: what the head of the call said of them.

    Source: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling
    """

    __slots__ = ("_open", "_pieces", "_root")

    def __init__(self, begun: Mapping[str, Any] | None = None) -> None:
        self._root: dict[str, Any] = dict(begun or {})
        # The text that goes on, and what came of it.
        self._open: tuple[Step, ...] = ()
        self._pieces: list[str] = []

    def add(self, items: object) -> str:
        """Take the ``partialArgs`` of one frame.

        Returns:
            what is wrong with them; "" when nothing is.
        """
        try:
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict):
                    self._add(item)
        except _MalformedPath as error:
            return str(error)
        return ""

    def text(self) -> str:
        """Return the arguments so far as JSON."""
        self._settle()
        return wire.compact(self._root)

    def _add(self, item: Mapping[str, Any]) -> None:
        path = _steps(item.get("jsonPath"))
        piece = item.get("stringValue")
        if isinstance(piece, str):
            self._more(path, piece)
            if item.get("willContinue") is not True:
                self._settle()
            return
        self._settle()
        for name in ("numberValue", "boolValue"):
            if item.get(name) is not None:
                self._put(path, item[name])
                return
        if "nullValue" in item:
            self._put(path, None)

    def _more(self, path: tuple[Step, ...], piece: str) -> None:
        if path != self._open:
            self._settle()
            # Its place in the order of the arguments.
            self._put(path, "")
            self._open = path
        self._pieces.append(piece)

    def _settle(self) -> None:
        if self._open:
            self._put(self._open, "".join(self._pieces))
        self._open = ()
        self._pieces.clear()

    def _put(self, path: tuple[Step, ...], value: Any) -> None:
        node: Any = self._root
        for step, following in pairwise(path):
            child = _get(node, step)
            if not isinstance(child, dict | list):
                child = [] if isinstance(following, int) else {}
                _set(node, step, child)
            node = child
        _set(node, path[-1], value)


def _steps(path: object) -> tuple[Step, ...]:
    """Read a JSON path of names and indexes."""
    steps: list[Step] = []
    at = 1
    while isinstance(path, str) and path.startswith("$") and at < len(path):
        step = _STEP.match(path, at)
        if step is None or len(steps) == _MAX_STEPS:
            break
        at = step.end()
        if step["index"] is not None:
            steps.append(int(step["index"]))
        elif step["name"] is not None:
            steps.append(step["name"])
        else:
            steps.append(_ESCAPE.sub(r"\1", step["single"] or step["double"] or ""))
    if not isinstance(path, str) or not steps or at < len(path):
        raise _MalformedPath("an argument of a tool call has no valid path")
    return tuple(steps)


def _get(node: Any, step: Step) -> Any:
    if isinstance(node, dict) and isinstance(step, str):
        return node.get(step)
    if isinstance(node, list) and isinstance(step, int):
        return node[step] if step < len(node) else None
    raise _MalformedPath("the arguments of a tool call contradict each other")


def _set(node: Any, step: Step, value: Any) -> None:
    if isinstance(node, list) and isinstance(step, int) and step - len(node) <= _MAX_GAP:
        node.extend([None] * (step + 1 - len(node)))
        node[step] = value
    elif isinstance(node, dict) and isinstance(step, str):
        node[step] = value
    else:
        raise _MalformedPath("the arguments of a tool call contradict each other")
