"""How any model is called at each of the four endpoints, and commands of shells that do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kurolproxy.connect.quoting import compact, path_part, powershell, sh
from kurolproxy.connect.wanted import KEY_VARIABLE
from kurolproxy.ir import ProtocolName

PROMPT: Final = "Say hello in one sentence."
"""What every text asks."""
ANSWER_TOKENS: Final = 1_024
"""Anthropic's requests have to say how long an answer may be."""

_MESSAGES: Final = [{"role": "user", "content": PROMPT}]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the four ways to call any model.

    Attributes:
        title: what its vendor calls it.
        label: what it is called among those of other vendors.
        path: below the base URL; ``{model}``: the model stands in it.
        body: of a call whose answer comes whole, from the model's name.
        key_header: the header of the key.
        key_prefix: what stands before the key there.
        headers: that every call needs besides.
        stream_path: of a call whose answer is streamed; "": the body asks for it.
    """

    name: ProtocolName
    title: str
    label: str
    path: str
    body: Callable[[str], dict[str, Any]]
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: Mapping[str, str] = field(default_factory=dict)
    stream_path: str = ""


_ENDPOINTS: Final = (
    Endpoint(
        "openai-chat",
        "Chat Completions",
        "OpenAI Chat",
        "/v1/chat/completions",
        lambda model: {"model": model, "messages": _MESSAGES},
    ),
    Endpoint(
        "openai-responses",
        "Responses",
        "OpenAI Responses",
        "/v1/responses",
        lambda model: {"model": model, "input": PROMPT},
    ),
    Endpoint(
        "anthropic",
        "Messages",
        "Anthropic",
        "/v1/messages",
        lambda model: {"model": model, "max_tokens": ANSWER_TOKENS, "messages": _MESSAGES},
        key_header="x-api-key",
        key_prefix="",
        headers={"anthropic-version": "2023-06-01"},
    ),
    Endpoint(
        "gemini",
        "Gemini",
        "Gemini",
        "/v1beta/models/{model}:generateContent",
        lambda model: {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]},
        key_header="x-goog-api-key",
        key_prefix="",
        stream_path="/v1beta/models/{model}:streamGenerateContent?alt=sse",
    ),
)
ENDPOINTS: Final[Mapping[str, Endpoint]] = {each.name: each for each in _ENDPOINTS}
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
    key: str | None = field(default=None, repr=False)

    @property
    def v1(self) -> str:
        """The base URL of OpenAI's clients."""
        return f"{self.base_url}/v1"

    def url(self, *, stream: bool = False) -> str:
        """Return where the call goes to."""
        endpoint = self.endpoint
        path = endpoint.stream_path if stream and endpoint.stream_path else endpoint.path
        return self.base_url + path.format(model=path_part(self.model))

    def body(self, *, stream: bool = False) -> str:
        """Return the call's JSON, in ASCII: no shell takes a letter of it for a quote."""
        body = self.endpoint.body(self.model)
        if stream and not self.endpoint.stream_path:
            body["stream"] = True
        return compact(body)


def in_bash(call: Call, *, stream: bool = False) -> str:
    """Return a command for sh, bash and zsh."""
    endpoint = call.endpoint
    if call.key is None:
        key = f'"{endpoint.key_header}: {endpoint.key_prefix}${KEY_VARIABLE}"'
    else:
        key = sh(f"{endpoint.key_header}: {endpoint.key_prefix}{call.key}")
    headers = {"Content-Type": "application/json", **endpoint.headers}
    # --globoff: curl would take braces and brackets of an address for patterns.
    command = "curl --globoff --no-buffer" if stream else "curl --globoff"
    lines = [
        f"{command} {sh(call.url(stream=stream))}",
        f"-H {key}",
        *(f"-H {sh(f'{name}: {value}')}" for name, value in headers.items()),
        f"-d {sh(call.body(stream=stream))}",
    ]
    return " \\\n  ".join(lines)


def in_powershell(call: Call) -> str:
    """Return commands for PowerShell, which shows only whole answers."""
    endpoint = call.endpoint
    if call.key is None:
        key = f'"{endpoint.key_prefix}$env:{KEY_VARIABLE}"'
    else:
        key = powershell(f"{endpoint.key_prefix}{call.key}")
    headers = {endpoint.key_header: key}
    headers |= {name: powershell(value) for name, value in endpoint.headers.items()}
    entries = "; ".join(f"{powershell(name)} = {value}" for name, value in headers.items())
    return "\n".join(
        (
            f"$headers = @{{ {entries} }}",
            f"$body = {powershell(call.body())}",
            f"Invoke-RestMethod -Method Post -Uri {powershell(call.url())} `",
            "  -Headers $headers -ContentType 'application/json' -Body $body |",
            "  ConvertTo-Json -Depth 10",
        )
    )
