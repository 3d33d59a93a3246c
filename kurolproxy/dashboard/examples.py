"""Programs that call this installation, as the API reference shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kurolproxy.connect.calls import ENDPOINTS, Call, in_bash
from kurolproxy.connect.programs import NODE_PACKAGES, PYTHON_PACKAGES, in_node, in_python

MODEL: Final = "MODEL"
"""Stands for the id of a model: who reads the reference is not known."""
_URL: Final = "BASE_URL"


@dataclass(frozen=True, slots=True)
class Example:
    """One program.

    Attributes:
        language: of the program.
        note: what has to be there before it runs.
    """

    language: str
    text: str
    note: str = ""


def examples_at(base_url: str) -> Iterator[tuple[str, list[Example]]]:
    """Yield what is called, and a program for each language.

    Args:
        base_url: of the installation that they call, without a trailing slash.
    """
    for endpoint in ENDPOINTS.values():
        yield endpoint.title, _calls(Call(base_url, MODEL, endpoint))
    yield (
        "Management",
        [Example(each.language, each.text.replace(_URL, base_url)) for each in _MANAGEMENT],
    )


def _calls(call: Call) -> list[Example]:
    name = call.endpoint.name
    return [
        Example("curl", in_bash(call)),
        Example("Python", in_python(call), f"pip install {PYTHON_PACKAGES[name]}"),
        Example("Node", in_node(call), f"npm install {NODE_PACKAGES[name]}"),
    ]


_MANAGEMENT: Final = (
    Example(
        "curl",
        """\
curl BASE_URL/api/v1/accounts \\
  -H "Authorization: Bearer $KUROL_ADMIN_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"email": "ann@example.org", "plan": "PLAN"}'
curl "BASE_URL/api/v1/usage?by=account&format=csv" \\
  -H "Authorization: Bearer $KUROL_ADMIN_KEY"
""",
    ),
    Example(
        "Python",
        """\
import json
import os
from urllib.request import Request, urlopen

request = Request(
    "BASE_URL/api/v1/usage?by=account",
    headers={"Authorization": f"Bearer {os.environ['KUROL_ADMIN_KEY']}"},
)
with urlopen(request) as answer:
    for line in json.load(answer)["data"]:
        print(line["account"], line["requests"], line["charged"])
""",
    ),
    Example(
        "Node",
        """\
const answer = await fetch("BASE_URL/api/v1/usage?by=account", {
  headers: { Authorization: `Bearer ${process.env.KUROL_ADMIN_KEY}` },
});
for (const line of (await answer.json()).data) {
  console.log(line.account, line.requests, line.charged);
}
""",
    ),
)
