"""A scripted model: it says a sentence, or writes a file with the client's own tool.

It speaks no protocol itself: the demo vendor reads requests and writes answers, as strictly
as the real vendors (unanswered calls, wrong proofs and odd names are refused).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kurolproxy.demo.ask import Ask, Offered, Result
from kurolproxy.demo.read import dumps
from kurolproxy.demo.reply import Call, Choice, Counts, Piece, Reply, Thought, Words
from kurolproxy.demo.script import count_prompt, tokens
from kurolproxy.demo.shape import shape

ANSWER = "Kurol says that the answer is forty-two."
DONE = "Kurol says that the file is written."
THOUGHT = "I hold the question against the light."
LINE = "Kurol was here."
"""What the file has to hold."""


@dataclass(slots=True)
class Script:
    """One model for one run of a client; it is the ``answers`` of a demo vendor.

    Args:
        path: the file to write, once a prompt names it and a fit tool is offered.
        answer: what it says to any other prompt.
        thought: what it thinks first, where the request lets it.
        slow: it pauses after every twelve characters or word.

    Attributes:
        asks: every request that was understood, in order.
    """

    path: Path
    answer: str = ANSWER
    thought: Thought = field(default_factory=lambda: Thought(THOUGHT))
    slow: bool = False
    asks: list[Ask] = field(default_factory=list)

    def __call__(self, ask: Ask) -> Reply:
        self.asks.append(ask)
        said = self._turn(ask)
        thoughts = () if ask.thinking is None else (self.thought,)
        pieces: tuple[Piece, ...] = (*thoughts, said)
        counts = Counts(
            prompt=count_prompt(ask),
            completion=sum(tokens(piece.text) for piece in pieces),
            reasoning=sum(tokens(piece.text) for piece in thoughts),
        )
        finish = "tool_calls" if isinstance(said, Call) else "stop"
        return Reply((Choice(pieces, finish),), counts, self.slow)

    @property
    def results(self) -> list[Result]:
        """What the client's tools answered, as the last request of the task tells it."""
        # A request for a title offers no tools, and may come at any time.
        asks = [ask for ask in self.asks if ask.tools]
        return [result for turn in asks[-1].turns for result in turn.results] if asks else []

    def _turn(self, ask: Ask) -> Call | Words:
        if not any(str(self.path) in turn.text for turn in ask.turns if turn.role == "user"):
            return Words(self.answer)
        if any(turn.results for turn in ask.turns):
            return Words(DONE)
        for writer in WRITERS:
            for tool in ask.tools:
                if writer.name.search(tool.name):
                    return Call(f"{ask.fingerprint[:20]}0", tool, writer.call(tool, self.path))
        # A side request, for the title of a session: it offers no tools.
        return Words("A file")


@dataclass(frozen=True, slots=True)
class Writer:
    """A kind of tool that can write a file."""

    name: re.Pattern[str]
    call: Callable[[Offered, Path], str]


def _patch(tool: Offered, path: Path) -> str:
    return _free(tool, _patch_of(path))


def _javascript(tool: Offered, path: Path) -> str:
    return _free(tool, f"text(await tools.apply_patch({dumps(_patch_of(path))}))")


def _patch_of(path: Path) -> str:
    return f"*** Begin Patch\n*** Add File: {path}\n+{LINE}\n*** End Patch\n"


def _free(tool: Offered, said: str) -> str:
    """Return the input of a tool that takes any text, also where it became a function."""
    return said if tool.free else _fitting(tool, {"input": said})


def _write(tool: Offered, path: Path) -> str:
    paths = dict.fromkeys(("path", "file_path", "filePath", "absolute_path"), str(path))
    texts = dict.fromkeys(("content", "contents", "text", "file_text", "new_text"), f"{LINE}\n")
    return _fitting(tool, {**paths, **texts})


def _command(tool: Offered, path: Path) -> str:
    command = f"echo {shlex.quote(LINE)} > {shlex.quote(str(path))}"
    return _fitting(tool, dict.fromkeys(("cmd", "command", "commands"), command))


def _fitting(tool: Offered, values: Mapping[str, str]) -> str:
    """Return arguments that fit the schema: what we know by name, the rest made up."""
    schema = tool.schema or {}
    known: Mapping[str, Any] = schema.get("properties") or {}
    made = shape(schema)
    for name, value in values.items():
        if name in known:
            made[name] = [value] if isinstance(shape(known[name]), list) else value
    return dumps(made)


WRITERS = (
    Writer(re.compile(r"apply_patch$"), _patch),
    Writer(re.compile(r"(^|__)exec$"), _javascript),
    Writer(re.compile(r"^(write|write_file|write_to_file|create_file|editor)$", re.I), _write),
    Writer(re.compile(r"(exec_command|run_commands|execute_command|shell|bash)$", re.I), _command),
)
"""The tools of all agents, the fittest first; one in a namespace has it before its name."""
