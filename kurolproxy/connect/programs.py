"""Programs that call a model by the SDK of the endpoint's vendor: Python and Node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kurolproxy.connect.calls import ANSWER_TOKENS, PROMPT, Call
from kurolproxy.connect.quoting import javascript, python
from kurolproxy.connect.wanted import KEY_VARIABLE
from kurolproxy.ir import ProtocolName

PYTHON_PACKAGES: Final[Mapping[ProtocolName, str]] = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google-genai",
}
"""What a program in Python needs, as pip calls it."""
NODE_PACKAGES: Final[Mapping[ProtocolName, str]] = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "@anthropic-ai/sdk",
    "gemini": "@google/genai",
}
"""What a program for Node needs, as npm calls it."""


def in_python(call: Call, *, stream: bool = False) -> str:
    """Return a program in Python.

    Args:
        stream: whether it shows the answer as it comes; no such one is for Responses, whose
            SDK is that of Chat Completions.
    """
    text = (_PYTHON_STREAMS if stream else _PYTHON)[call.endpoint.name]
    if call.key is None:
        return "import os\n\n" + _filled(text, call, python, f'os.environ["{KEY_VARIABLE}"]')
    return _filled(text, call, python, python(call.key))


def in_node(call: Call, *, stream: bool = False) -> str:
    """Return a module of JavaScript.

    Args:
        stream: as for ``in_python``.
    """
    text = (_NODE_STREAMS if stream else _NODE)[call.endpoint.name]
    key = f"process.env.{KEY_VARIABLE}" if call.key is None else javascript(call.key)
    return _filled(text, call, javascript, key)


def _filled(text: str, call: Call, literal: Callable[[str], str], key: str) -> str:
    """Put literals where ``<<name>>`` stands, in one pass: what is put in is not looked at."""
    values = {
        "key": key,
        "url": literal(call.base_url),
        "v1": literal(call.v1),
        "model": literal(call.model),
        "prompt": literal(PROMPT),
        "tokens": str(ANSWER_TOKENS),
    }
    pieces = text.split("<<")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition(">>")
        filled += (values[name], rest)
    return "".join(filled)


# A model that thinks may say its thoughts first: the last part of a message is the answer.
_PYTHON: Final[Mapping[ProtocolName, str]] = {
    "openai-chat": """\
from openai import OpenAI

with OpenAI(base_url=<<v1>>, api_key=<<key>>) as client:
    answer = client.chat.completions.create(
        model=<<model>>,
        messages=[{"role": "user", "content": <<prompt>>}],
    )
print(answer.choices[0].message.content)""",
    "openai-responses": """\
from openai import OpenAI

with OpenAI(base_url=<<v1>>, api_key=<<key>>) as client:
    answer = client.responses.create(model=<<model>>, input=<<prompt>>)
print(answer.output_text)""",
    "anthropic": """\
from anthropic import Anthropic

with Anthropic(base_url=<<url>>, api_key=<<key>>) as client:
    answer = client.messages.create(
        model=<<model>>,
        max_tokens=<<tokens>>,
        messages=[{"role": "user", "content": <<prompt>>}],
    )
print(answer.content[-1].text)""",
    "gemini": """\
from google import genai

options = {"base_url": <<url>>}
with genai.Client(api_key=<<key>>, http_options=options) as client:
    answer = client.models.generate_content(model=<<model>>, contents=<<prompt>>)
print(answer.text)""",
}

_PYTHON_STREAMS: Final[Mapping[ProtocolName, str]] = {
    "openai-chat": """\
from openai import OpenAI

client = OpenAI(base_url=<<v1>>, api_key=<<key>>)
stream = client.chat.completions.create(
    model=<<model>>,
    messages=[{"role": "user", "content": <<prompt>>}],
    stream=True,
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()""",
    "anthropic": """\
from anthropic import Anthropic

client = Anthropic(base_url=<<url>>, api_key=<<key>>)
with client.messages.stream(
    model=<<model>>,
    max_tokens=<<tokens>>,
    messages=[{"role": "user", "content": <<prompt>>}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()""",
    "gemini": """\
from google import genai

client = genai.Client(api_key=<<key>>, http_options={"base_url": <<url>>})
for chunk in client.models.generate_content_stream(
    model=<<model>>, contents=<<prompt>>
):
    print(chunk.text or "", end="", flush=True)
print()""",
}

_NODE: Final[Mapping[ProtocolName, str]] = {
    "openai-chat": """\
import OpenAI from "openai";

const client = new OpenAI({ baseURL: <<v1>>, apiKey: <<key>> });
const answer = await client.chat.completions.create({
  model: <<model>>,
  messages: [{ role: "user", content: <<prompt>> }],
});
console.log(answer.choices[0].message.content);""",
    "openai-responses": """\
import OpenAI from "openai";

const client = new OpenAI({ baseURL: <<v1>>, apiKey: <<key>> });
const answer = await client.responses.create({ model: <<model>>, input: <<prompt>> });
console.log(answer.output_text);""",
    "anthropic": """\
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: <<url>>, apiKey: <<key>> });
const answer = await client.messages.create({
  model: <<model>>,
  max_tokens: <<tokens>>,
  messages: [{ role: "user", content: <<prompt>> }],
});
console.log(answer.content.at(-1).text);""",
    "gemini": """\
import { GoogleGenAI } from "@google/genai";

const client = new GoogleGenAI({
  apiKey: <<key>>,
  httpOptions: { baseUrl: <<url>> },
});
const answer = await client.models.generateContent({ model: <<model>>, contents: <<prompt>> });
console.log(answer.text);""",
}

_NODE_STREAMS: Final[Mapping[ProtocolName, str]] = {
    "openai-chat": """\
import OpenAI from "openai";

const client = new OpenAI({ baseURL: <<v1>>, apiKey: <<key>> });
const stream = await client.chat.completions.create({
  model: <<model>>,
  messages: [{ role: "user", content: <<prompt>> }],
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
console.log();""",
    "anthropic": """\
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: <<url>>, apiKey: <<key>> });
const stream = client.messages.stream({
  model: <<model>>,
  max_tokens: <<tokens>>,
  messages: [{ role: "user", content: <<prompt>> }],
});
stream.on("text", (text) => process.stdout.write(text));
await stream.finalMessage();
console.log();""",
    "gemini": """\
import { GoogleGenAI } from "@google/genai";

const client = new GoogleGenAI({ apiKey: <<key>>, httpOptions: { baseUrl: <<url>> } });
const stream = await client.models.generateContentStream({
  model: <<model>>,
  contents: <<prompt>>,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.text ?? "");
}
console.log();""",
}
