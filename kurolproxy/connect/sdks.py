"""Calls of the gateway by curl, PowerShell, Python and Node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kurolproxy.connect.quoting import compact, javascript, path_part, powershell, python, sh
from kurolproxy.connect.shells import shell_step
from kurolproxy.connect.wanted import KEY_VARIABLE, Step, Wanted

_QUESTION: Final = "Say hello in one sentence."
_MESSAGES: Final = [{"role": "user", "content": _QUESTION}]
# Anthropic's requests have to say how long an answer may be.
_ANSWER_TOKENS: Final = 1_024


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How one protocol is called without an SDK.

    Attributes:
        path: of a whole answer, from the model's id.
        streamed: what a stream adds to the body; None: it has a path of its own.
        credential: header and prefix of the key.
    """

    name: str
    path: Callable[[str], str]
    body: Callable[[str], dict[str, Any]]
    streamed: Mapping[str, Any] | None = field(default_factory=lambda: {"stream": True})
    credential: tuple[str, str] = ("Authorization", "Bearer ")
    headers: Mapping[str, str] = field(default_factory=dict)


_DIALECTS: Final = (
    _Dialect(
        "OpenAI Chat",
        lambda model: "/v1/chat/completions",
        lambda model: {"model": model, "messages": _MESSAGES},
    ),
    _Dialect(
        "OpenAI Responses",
        lambda model: "/v1/responses",
        lambda model: {"model": model, "input": _QUESTION},
    ),
    _Dialect(
        "Anthropic",
        lambda model: "/v1/messages",
        lambda model: {"model": model, "max_tokens": _ANSWER_TOKENS, "messages": _MESSAGES},
        credential=("x-api-key", ""),
        headers={"anthropic-version": "2023-06-01"},
    ),
    _Dialect(
        "Gemini",
        lambda model: f"/v1beta/models/{path_part(model)}",
        lambda model: {"contents": [{"role": "user", "parts": [{"text": _QUESTION}]}]},
        streamed=None,
        credential=("x-goog-api-key", ""),
    ),
)


def curl(wanted: Wanted) -> list[Step]:
    """Return one call in each protocol: by curl, or by PowerShell's own command."""
    write = _curl if wanted.shell == "bash" else _invoke
    return [
        shell_step(wanted, f"Call {dialect.name}", write(wanted, dialect)) for dialect in _DIALECTS
    ]


def _curl(wanted: Wanted, dialect: _Dialect) -> str:
    model = wanted.model.id
    path, body = dialect.path(model), dialect.body(model)
    if dialect.streamed is None:
        path += ":streamGenerateContent?alt=sse"
    else:
        body |= dialect.streamed
    name, prefix = dialect.credential
    credential = (
        f'"{name}: {prefix}${KEY_VARIABLE}"'
        if wanted.key is None
        else sh(f"{name}: {prefix}{wanted.key}")
    )
    headers = {"Content-Type": "application/json", **dialect.headers}
    # --globoff: curl would take braces and brackets of an address for patterns.
    lines = [
        f"curl --globoff --no-buffer {sh(wanted.base_url + path)}",
        f"-H {credential}",
        *(f"-H {sh(f'{name}: {value}')}" for name, value in headers.items()),
        f"-d {sh(compact(body))}",
    ]
    return " \\\n  ".join(lines)


def _invoke(wanted: Wanted, dialect: _Dialect) -> str:
    model = wanted.model.id
    path = dialect.path(model)
    if dialect.streamed is None:
        path += ":generateContent"
    name, prefix = dialect.credential
    credential = (
        f'"{prefix}$env:{KEY_VARIABLE}"'
        if wanted.key is None
        else powershell(f"{prefix}{wanted.key}")
    )
    headers = {name: credential}
    headers |= {name: powershell(value) for name, value in dialect.headers.items()}
    entries = "; ".join(f"{powershell(name)} = {value}" for name, value in headers.items())
    return "\n".join(
        (
            f"$headers = @{{ {entries} }}",
            f"$body = {powershell(compact(dialect.body(model)))}",
            f"Invoke-RestMethod -Method Post -Uri {powershell(wanted.base_url + path)} `",
            "  -Headers $headers -ContentType 'application/json' -Body $body |",
            "  ConvertTo-Json -Depth 10",
        )
    )


def python_sdks(wanted: Wanted) -> list[Step]:
    """Return a program for each vendor's SDK of Python."""
    key = f'os.environ["{KEY_VARIABLE}"]' if wanted.key is None else python(wanted.key)
    first = "import os\n\n" if wanted.key is None else ""
    install = shell_step(wanted, "Install", "pip install openai anthropic google-genai")
    values = {
        "key": key,
        "url": python(wanted.base_url),
        "v1": python(wanted.v1),
        "model": python(wanted.model.id),
        "question": python(_QUESTION),
        "tokens": str(_ANSWER_TOKENS),
    }
    programs = (
        Step(title, where, "python", first + _filled(text, values))
        for title, where, text in _PYTHON
    )
    return [install, *programs]


def node_sdks(wanted: Wanted) -> list[Step]:
    """Return a program for each vendor's SDK of Node."""
    key = f"process.env.{KEY_VARIABLE}" if wanted.key is None else javascript(wanted.key)
    packages = "npm install openai @anthropic-ai/sdk @google/genai"
    if wanted.shell == "powershell":
        # There, a bare @ would begin a list of arguments.
        packages = "npm install openai '@anthropic-ai/sdk' '@google/genai'"
    values = {
        "key": key,
        "url": javascript(wanted.base_url),
        "v1": javascript(wanted.v1),
        "model": javascript(wanted.model.id),
        "question": javascript(_QUESTION),
        "tokens": str(_ANSWER_TOKENS),
    }
    programs = (
        Step(title, where, "javascript", _filled(text, values)) for title, where, text in _NODE
    )
    return [shell_step(wanted, "Install", packages), *programs]


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Put literals where ``<<name>>`` stands, in one pass: what is put in is not looked at."""
    pieces = text.split("<<")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition(">>")
        filled += (values[name], rest)
    return "".join(filled)


_PYTHON: Final = (
    (
        "OpenAI's SDK",
        "openai_hello.py",
        """\
from openai import OpenAI

client = OpenAI(base_url=<<v1>>, api_key=<<key>>)
stream = client.chat.completions.create(
    model=<<model>>,
    messages=[{"role": "user", "content": <<question>>}],
    stream=True,
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()""",
    ),
    (
        "Anthropic's SDK",
        "anthropic_hello.py",
        """\
from anthropic import Anthropic

client = Anthropic(base_url=<<url>>, api_key=<<key>>)
with client.messages.stream(
    model=<<model>>,
    max_tokens=<<tokens>>,
    messages=[{"role": "user", "content": <<question>>}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()""",
    ),
    (
        "Google's SDK",
        "google_hello.py",
        """\
from google import genai

client = genai.Client(api_key=<<key>>, http_options={"base_url": <<url>>})
for chunk in client.models.generate_content_stream(
    model=<<model>>, contents=<<question>>
):
    print(chunk.text or "", end="", flush=True)
print()""",
    ),
)

_NODE: Final = (
    (
        "OpenAI's SDK",
        "openai_hello.mjs",
        """\
import OpenAI from "openai";

const client = new OpenAI({ baseURL: <<v1>>, apiKey: <<key>> });
const stream = await client.chat.completions.create({
  model: <<model>>,
  messages: [{ role: "user", content: <<question>> }],
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
console.log();""",
    ),
    (
        "Anthropic's SDK",
        "anthropic_hello.mjs",
        """\
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: <<url>>, apiKey: <<key>> });
const stream = client.messages.stream({
  model: <<model>>,
  max_tokens: <<tokens>>,
  messages: [{ role: "user", content: <<question>> }],
});
stream.on("text", (text) => process.stdout.write(text));
await stream.finalMessage();
console.log();""",
    ),
    (
        "Google's SDK",
        "google_hello.mjs",
        """\
import { GoogleGenAI } from "@google/genai";

const client = new GoogleGenAI({ apiKey: <<key>>, httpOptions: { baseUrl: <<url>> } });
const stream = await client.models.generateContentStream({
  model: <<model>>,
  contents: <<question>>,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.text ?? "");
}
console.log();""",
    ),
)
