"""Texts that call a model: for each endpoint a command for two shells, and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kurolproxy.connect.quoting import compact, path_part, powershell, python, sh
from kurolproxy.connect.wanted import KEY_VARIABLE
from kurolproxy.ir import ProtocolName

_PROMPT: Final = "Say hello."
_MAX_TOKENS: Final = 200


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the four ways to call any model.

    Attributes:
        title: what its vendor calls it.
        path: below the base URL; ``{model}``: the model stands in it.
        key_header: the header of the key.
        key_prefix: what stands before the key there.
        headers: that every call needs besides.
    """

    name: ProtocolName
    title: str
    path: str
    key_header: str
    key_prefix: str = ""
    headers: tuple[tuple[str, str], ...] = ()


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    each.name: each
    for each in (
        Endpoint(
            "openai-chat", "Chat Completions", "/v1/chat/completions", "Authorization", "Bearer "
        ),
        Endpoint("openai-responses", "Responses", "/v1/responses", "Authorization", "Bearer "),
        Endpoint(
            "anthropic",
            "Messages",
            "/v1/messages",
            "x-api-key",
            headers=(("anthropic-version", "2023-06-01"),),
        ),
        Endpoint(
            "gemini",
            "Gemini",
            "/v1beta/models/{model}:generateContent",
            "x-goog-api-key",
        ),
    )
}
"""Every endpoint of models, by the name of its protocol."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a text is to call.

    Attributes:
        base_url: without a trailing slash.
        model: an id or an alias.
        key: in clear; None: the text takes it from the environment.
    """

    base_url: str
    model: str
    endpoint: Endpoint
    key: str | None = None

    @property
    def url(self) -> str:
        """Where the call goes to."""
        return self.base_url + self.endpoint.path.format(model=path_part(self.model))

    @property
    def body(self) -> str:
        """The call's JSON, in ASCII: no shell takes a letter of it for a quote."""
        return compact(_BODIES[self.endpoint.name](self.model))


def in_bash(call: Call) -> str:
    """Return a command for sh, bash and zsh."""
    endpoint = call.endpoint
    if call.key is None:
        key = f'"{endpoint.key_header}: {endpoint.key_prefix}${KEY_VARIABLE}"'
    else:
        key = sh(f"{endpoint.key_header}: {endpoint.key_prefix}{call.key}")
    # --globoff: curl would take brackets of an address for patterns.
    lines = [f"curl --globoff {sh(call.url)}", f"-H {key}"]
    lines += [f"-H {sh(f'{name}: {value}')}" for name, value in endpoint.headers]
    lines += ["-H 'Content-Type: application/json'", f"-d {sh(call.body)}"]
    return " \\\n  ".join(lines)


def in_powershell(call: Call) -> str:
    """Return a command for PowerShell."""
    endpoint = call.endpoint
    if call.key is None:
        key = f'"{endpoint.key_prefix}$env:{KEY_VARIABLE}"'
    else:
        key = powershell(f"{endpoint.key_prefix}{call.key}")
    pairs = [f"{powershell(endpoint.key_header)} = {key}"]
    pairs += [f"{powershell(name)} = {powershell(value)}" for name, value in endpoint.headers]
    return (
        f"Invoke-RestMethod -Method Post -Uri {powershell(call.url)} `\n"
        f"  -Headers @{{ {'; '.join(pairs)} }} `\n"
        f"  -ContentType 'application/json' `\n"
        f"  -Body {powershell(call.body)}"
    )


def in_python(call: Call) -> str:
    """Return a program that uses the SDK of the endpoint's vendor."""
    key = f'os.environ["{KEY_VARIABLE}"]' if call.key is None else python(call.key)
    text = _PROGRAMS[call.endpoint.name].format(
        base_url=python(call.base_url),
        v1=python(f"{call.base_url}/v1"),
        model=python(call.model),
        key=key,
        prompt=python(_PROMPT),
        most=_MAX_TOKENS,
    )
    return f"import os\n\n{text}" if call.key is None else text


def _chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": _PROMPT}]}


def _responses(model: str) -> dict[str, Any]:
    return {"model": model, "input": _PROMPT}


def _messages(model: str) -> dict[str, Any]:
    return {**_chat(model), "max_tokens": _MAX_TOKENS}


def _gemini(_: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": _PROMPT}]}]}


_BODIES: Final = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "anthropic": _messages,
    "gemini": _gemini,
}
_PROGRAMS: Final = {
    "openai-chat": """\
from openai import OpenAI

client = OpenAI(base_url={v1}, api_key={key})
answer = client.chat.completions.create(
    model={model},
    messages=[{{"role": "user", "content": {prompt}}}],
)
print(answer.choices[0].message.content)
""",
    "openai-responses": """\
from openai import OpenAI

client = OpenAI(base_url={v1}, api_key={key})
answer = client.responses.create(model={model}, input={prompt})
print(answer.output_text)
""",
    "anthropic": """\
from anthropic import Anthropic

client = Anthropic(base_url={base_url}, api_key={key})
answer = client.messages.create(
    model={model},
    max_tokens={most},
    messages=[{{"role": "user", "content": {prompt}}}],
)
print(answer.content[-1].text)
""",
    "gemini": """\
from google import genai

client = genai.Client(api_key={key}, http_options={{"base_url": {base_url}}})
answer = client.models.generate_content(model={model}, contents={prompt})
print(answer.text)
""",
}
