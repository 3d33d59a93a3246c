"""Programs that call this installation, as the API reference shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

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

    def at(self, base_url: str) -> Example:
        """Return it as it calls an installation; ``base_url`` without a trailing slash."""
        return Example(self.language, self.text.replace(_URL, base_url), self.note)


_CHAT: Final = (
    Example(
        "curl",
        """\
curl BASE_URL/v1/chat/completions \\
  -H "Authorization: Bearer $KUROL_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "MODEL", "messages": [{"role": "user", "content": "Say hello."}]}'
""",
    ),
    Example(
        "Python",
        """\
import os

from openai import OpenAI

with OpenAI(base_url="BASE_URL/v1", api_key=os.environ["KUROL_API_KEY"]) as client:
    answer = client.chat.completions.create(
        model="MODEL",
        messages=[{"role": "user", "content": "Say hello."}],
    )
print(answer.choices[0].message.content)
""",
        "pip install openai",
    ),
    Example(
        "Node",
        """\
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "BASE_URL/v1", apiKey: process.env.KUROL_API_KEY });
const answer = await client.chat.completions.create({
  model: "MODEL",
  messages: [{ role: "user", content: "Say hello." }],
});
console.log(answer.choices[0].message.content);
""",
        "npm install openai",
    ),
)
_RESPONSES: Final = (
    Example(
        "curl",
        """\
curl BASE_URL/v1/responses \\
  -H "Authorization: Bearer $KUROL_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "MODEL", "input": "Say hello."}'
""",
    ),
    Example(
        "Python",
        """\
import os

from openai import OpenAI

with OpenAI(base_url="BASE_URL/v1", api_key=os.environ["KUROL_API_KEY"]) as client:
    answer = client.responses.create(model="MODEL", input="Say hello.")
print(answer.output_text)
""",
        "pip install openai",
    ),
    Example(
        "Node",
        """\
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "BASE_URL/v1", apiKey: process.env.KUROL_API_KEY });
const answer = await client.responses.create({ model: "MODEL", input: "Say hello." });
console.log(answer.output_text);
""",
        "npm install openai",
    ),
)
_MESSAGES: Final = (
    Example(
        "curl",
        """\
curl BASE_URL/v1/messages \\
  -H "x-api-key: $KUROL_API_KEY" \\
  -H "anthropic-version: 2023-06-01" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "MODEL", "max_tokens": 200,
       "messages": [{"role": "user", "content": "Say hello."}]}'
""",
    ),
    Example(
        "Python",
        """\
import os

from anthropic import Anthropic

with Anthropic(base_url="BASE_URL", api_key=os.environ["KUROL_API_KEY"]) as client:
    answer = client.messages.create(
        model="MODEL",
        max_tokens=200,
        messages=[{"role": "user", "content": "Say hello."}],
    )
print(answer.content[-1].text)
""",
        "pip install anthropic",
    ),
    Example(
        "Node",
        """\
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: "BASE_URL", apiKey: process.env.KUROL_API_KEY });
const answer = await client.messages.create({
  model: "MODEL",
  max_tokens: 200,
  messages: [{ role: "user", content: "Say hello." }],
});
console.log(answer.content.at(-1).text);
""",
        "npm install @anthropic-ai/sdk",
    ),
)
_GEMINI: Final = (
    Example(
        "curl",
        """\
curl BASE_URL/v1beta/models/MODEL:generateContent \\
  -H "x-goog-api-key: $KUROL_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}'
""",
    ),
    Example(
        "Python",
        """\
import os

from google import genai

options = {"base_url": "BASE_URL"}
with genai.Client(api_key=os.environ["KUROL_API_KEY"], http_options=options) as client:
    answer = client.models.generate_content(model="MODEL", contents="Say hello.")
print(answer.text)
""",
        "pip install google-genai",
    ),
    Example(
        "Node",
        """\
import { GoogleGenAI } from "@google/genai";

const client = new GoogleGenAI({
  apiKey: process.env.KUROL_API_KEY,
  httpOptions: { baseUrl: "BASE_URL" },
});
const answer = await client.models.generateContent({ model: "MODEL", contents: "Say hello." });
console.log(answer.text);
""",
        "npm install @google/genai",
    ),
)
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

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "Chat Completions": _CHAT,
    "Responses": _RESPONSES,
    "Messages": _MESSAGES,
    "Gemini": _GEMINI,
    "Management": _MANAGEMENT,
}
"""What is called -> a program for each language."""


def examples_at(base_url: str) -> Iterator[tuple[str, list[Example]]]:
    """Yield all examples as they call an installation."""
    for title, programs in EXAMPLES.items():
        yield title, [each.at(base_url) for each in programs]
