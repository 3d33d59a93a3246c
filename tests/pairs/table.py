"""The conformance table as a page: written by a run of the tests, read back as the standard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from kurolproxy.ir import ProtocolName
from tests.pairs.conformance import Cell
from tests.pairs.features import FEATURES
from tests.pairs.rules import RULES
from tests.pairs.world import PROTOCOLS

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

Key = tuple[ProtocolName, ProtocolName, str]
"""Client, upstream, feature."""

TITLES: Mapping[ProtocolName, str] = {
    "openai-chat": "OpenAI Chat Completions",
    "openai-responses": "OpenAI Responses",
    "anthropic": "Anthropic Messages",
    "gemini": "Google Gemini",
}

_HEAD = """\
# Conformance

What a client of each protocol gets when its model is reached by each protocol. This page is
written by `make conformance` and never by hand: each cell is computed from what really went
over the wire between the vendor's official Python SDK, the gateway and a scripted vendor. A
cell that gets worse fails the tests.

What the client sent and what the upstream was sent are both decoded into the gateway's
neutral form, and so are what the upstream answered and what the client got:

- **exact**: both sides are equal.
- **emulated**: both sides are equal under the named rules, which are explained
  [below](#rules).
- **dropped**: the upstream's protocol cannot say it; the name of the field stands in the
  response header `x-kurol-dropped`.
- **refused**: the request is answered with an error that names what cannot be translated.
- **-**: the client's protocol has no words for it.

Both the whole answer and the stream are measured where both exist; the worse one counts.
Fields that the row is not about are not compared. JSON texts are compared by value. The
targets declare what the vendors themselves take (`cache = "explicit"` at OpenAI,
`replay_reasoning_content` as DeepSeek wants it, `tool_result_media` at Gemini).
"""


def render(cells: Mapping[Key, Cell]) -> str:
    """Write the page."""
    lines = [_HEAD, *_features()]
    for client in PROTOCOLS:
        lines += ["", f"## Clients of {TITLES[client]}", ""]
        lines += _rows(cells, client)
    lines += ["", "## Rules", ""]
    used = {name for cell in cells.values() for name in cell.rules}
    lines += [f"- **{rule.name}**: {rule.text}" for rule in RULES if rule.name in used]
    return "\n".join(lines) + "\n"


def _features() -> Iterator[str]:
    yield "| feature | what is measured |"
    yield "|---|---|"
    for feature in FEATURES:
        yield f"| {feature.name} | {feature.tells} |"


def _rows(cells: Mapping[Key, Cell], client: ProtocolName) -> Iterator[str]:
    upstreams = " | ".join(f"{TITLES[each]} upstream" for each in PROTOCOLS)
    yield f"| feature | {upstreams} |"
    yield "|---" * (len(PROTOCOLS) + 1) + "|"
    for feature in FEATURES:
        row = [str(cells[client, each, feature.name]) for each in PROTOCOLS]
        yield f"| {feature.name} | {' | '.join(row)} |"


def parse(page: str) -> dict[Key, Cell]:
    """Read the cells of a page."""
    by_title = {title: name for name, title in TITLES.items()}
    cells: dict[Key, Cell] = {}
    client: ProtocolName | None = None
    upstreams: list[ProtocolName] = []
    for line in page.splitlines():
        if line.startswith("## "):
            client = by_title.get(line.removeprefix("## Clients of "))
        elif client is not None and line.startswith("| "):
            name, *row = [each.strip() for each in line.strip("|").split("|")]
            if name == "feature":
                upstreams = [by_title[each.removesuffix(" upstream")] for each in row]
            else:
                for upstream, text in zip(upstreams, row, strict=True):
                    cells[client, upstream, name] = _cell(text)
    return cells


def _cell(text: str) -> Cell:
    grade, _, rules = text.partition(": ")
    return Cell(grade, tuple(rules.split(", ")) if rules else ())


def committed() -> dict[Key, Cell]:
    """Return the cells of the committed page."""
    return parse(PAGE.read_text())
