"""What an upstream was sent, read from its own wire words into words that all four share.

Written from the vendors' documents; no code of the gateway. A request is a list of items
``(who, what, value)`` in their order, whichever messages they stood in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kurolproxy.ir import ProtocolName

Item = tuple[str, str, Any]


@dataclass(slots=True)
class Sent:
    """One request as the vendor understands it.

    Attributes:
        items: ``("user", "text", "Hi")``, ``("assistant", "call", (id, name, arguments))``,
            ``("tool", "result", (id, text))``, ``("tool", "image", ...)``: one inside a result.
        tools: name -> JSON Schema of the arguments.
        choice: ``auto``, ``required``, ``none``, a tool's name, or "" when nothing is said.
        schema: of the answer.
        effort: how much to think, lower case.
    """

    system: str = ""
    items: list[Item] = field(default_factory=list)
    tools: dict[str, Any] = field(default_factory=dict)
    choice: str = ""
    schema: Any = None
    effort: str = ""
    stop: list[str] = field(default_factory=list)
    cap: int | None = None

    def of(self, kind: str) -> list[Any]:
        """Return the values of one kind, in order."""
        return [value for _, what, value in self.items if what == kind]


def read(protocol: ProtocolName, body: Any) -> Sent:
    """Read the body of a request."""
    return _READERS[protocol](body)


def _data(url: str) -> tuple[str, str]:
    mime, _, data = url.removeprefix("data:").partition(";base64,")
    return mime, data


def _result(call: str, parts: list[Item]) -> Iterator[Item]:
    """Yield a result with its words, and behind it what else it holds."""
    words = "".join(value for _, kind, value in parts if kind == "text")
    yield "tool", "result", (call, words)
    yield from (part for part in parts if part[1] != "text")


# --- Chat -------------------------------------------------------------------------------


def _chat(body: Any) -> Sent:
    sent = Sent(cap=body.get("max_completion_tokens"), stop=body.get("stop") or [])
    for message in body["messages"]:
        if message["role"] == "system":
            sent.system += "".join(value for _, _, value in _chat_content("", message))
        elif message["role"] == "tool":
            parts = list(_chat_content("tool", message))
            sent.items += _result(message["tool_call_id"], parts)
        else:
            sent.items += _chat_content(message["role"], message)
            for call in message.get("tool_calls") or ():
                inner = call["function"]
                value = (call["id"], inner["name"], json.loads(inner["arguments"]))
                sent.items.append(("assistant", "call", value))
    for tool in body.get("tools") or ():
        sent.tools[tool["function"]["name"]] = tool["function"].get("parameters")
    choice = body.get("tool_choice") or ""
    sent.choice = choice if isinstance(choice, str) else choice["function"]["name"]
    form = (body.get("response_format") or {}).get("json_schema")
    sent.schema = form and form["schema"]
    sent.effort = body.get("reasoning_effort") or ""
    return sent


def _chat_content(who: str, message: Any) -> Iterator[Item]:
    content = message.get("content") or []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for part in content:
        match part["type"]:
            case "text":
                yield who, "text", part["text"]
            case "image_url":
                yield who, "image", _data(part["image_url"]["url"])
            case "file":
                inner = part["file"]
                yield who, "file", (*_data(inner["file_data"]), inner["filename"])


# --- Responses --------------------------------------------------------------------------


def _responses(body: Any) -> Sent:
    sent = Sent(cap=body.get("max_output_tokens"), system=body.get("instructions") or "")
    for item in body["input"]:
        match item.get("type", "message"):
            case "message":
                _responses_message(sent, item)
            case "function_call":
                value = (item["call_id"], item["name"], json.loads(item["arguments"]))
                sent.items.append(("assistant", "call", value))
            case "function_call_output":
                sent.items += _responses_result(item)
    for tool in body.get("tools") or ():
        sent.tools[tool["name"]] = tool["parameters"]
    choice = body.get("tool_choice") or ""
    sent.choice = choice if isinstance(choice, str) else choice["name"]
    sent.schema = ((body.get("text") or {}).get("format") or {}).get("schema")
    sent.effort = (body.get("reasoning") or {}).get("effort") or ""
    return sent


def _responses_message(sent: Sent, item: Any) -> None:
    found = list(_responses_content(item["role"], item["content"]))
    if item["role"] in ("system", "developer"):
        sent.system += "".join(value for _, _, value in found)
    else:
        sent.items += found


def _responses_content(who: str, content: Any) -> Iterator[Item]:
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    for part in content:
        match part["type"]:
            case "input_text" | "output_text":
                yield who, "text", part["text"]
            case "input_image":
                yield who, "image", _data(part["image_url"])
            case "input_file":
                yield who, "file", (*_data(part["file_data"]), part["filename"])


def _responses_result(item: Any) -> Iterator[Item]:
    yield from _result(item["call_id"], list(_responses_content("tool", item["output"])))


# --- Messages ---------------------------------------------------------------------------


def _messages(body: Any) -> Sent:
    sent = Sent(cap=body.get("max_tokens"), stop=body.get("stop_sequences") or [])
    system = body.get("system") or []
    blocks = [{"text": system}] if isinstance(system, str) else system
    sent.system = "".join(each["text"] for each in blocks)
    for message in body["messages"]:
        sent.items += _messages_content(message["role"], message["content"])
    for tool in body.get("tools") or ():
        sent.tools[tool["name"]] = tool["input_schema"]
    choice = body.get("tool_choice") or {"type": ""}
    words = {"any": "required", "tool": choice.get("name", "")}
    sent.choice = words.get(choice["type"], choice["type"])
    config = body.get("output_config") or {}
    sent.schema = (config.get("format") or {}).get("schema")
    sent.effort = config.get("effort") or ""
    return sent


def _messages_content(who: str, content: Any) -> Iterator[Item]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for block in content:
        match block["type"]:
            case "text":
                yield who, "text", block["text"]
            case "image":
                yield who, "image", (block["source"]["media_type"], block["source"]["data"])
            case "document":
                source = block["source"]
                yield who, "file", (source["media_type"], source["data"], block.get("title"))
            case "tool_use":
                yield who, "call", (block["id"], block["name"], block["input"])
            case "tool_result":
                parts = list(_messages_content("tool", block.get("content") or []))
                yield from _result(block["tool_use_id"], parts)


# --- Gemini -----------------------------------------------------------------------------


_AS_THEY_ARE = ("args", "response", "parametersJsonSchema", "responseJsonSchema")


def _camel(value: Any) -> Any:
    """Return a body in the usual spelling: the vendor takes snake case too, its SDK mixes both."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for name, inner in value.items():
        head, *rest = name.split("_")
        usual = head + "".join(word.title() for word in rest)
        out[usual] = inner if usual in _AS_THEY_ARE else _camel(inner)
    return out


def _gemini(body: Any) -> Sent:
    body = _camel(body)
    config = body.get("generationConfig") or {}
    sent = Sent(cap=config.get("maxOutputTokens"), stop=config.get("stopSequences") or [])
    system = body.get("systemInstruction") or {"parts": []}
    sent.system = "".join(part["text"] for part in system["parts"])
    for content in body["contents"]:
        who = "assistant" if content.get("role") == "model" else "user"
        for part in content["parts"]:
            sent.items += _gemini_part(who, part)
    for tool in body.get("tools") or ():
        for each in tool["functionDeclarations"]:
            sent.tools[each["name"]] = each.get("parametersJsonSchema")
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {"mode": ""}
    names = calling.get("allowedFunctionNames") or ["required"]
    sent.choice = names[0] if calling["mode"] == "ANY" else calling["mode"].lower()
    sent.schema = config.get("responseJsonSchema")
    sent.effort = (config.get("thinkingConfig") or {}).get("thinkingLevel", "").lower()
    return sent


def _gemini_part(who: str, part: Any) -> Iterator[Item]:
    if part.get("thought"):
        return
    if part.get("text"):
        yield who, "text", part["text"]
    if "inlineData" in part:
        yield _gemini_media(who, part["inlineData"])
    if "functionCall" in part:
        call = part["functionCall"]
        yield who, "call", (call.get("id"), call["name"], call.get("args") or {})
    if "functionResponse" in part:
        inner = part["functionResponse"]
        yield "tool", "result", (inner.get("id"), inner["response"].get("output"))
        for each in inner.get("parts") or ():
            yield _gemini_media("tool", each["inlineData"])


def _gemini_media(who: str, inner: Any) -> Item:
    # The Google SDK writes base64 with the alphabet of URLs.
    mime, data = inner["mimeType"], inner["data"].replace("-", "+").replace("_", "/")
    if mime.startswith("image/"):
        return who, "image", (mime, data)
    return who, "file", (mime, data, inner.get("displayName"))


_READERS: Mapping[ProtocolName, Callable[[Any], Sent]] = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "anthropic": _messages,
    "gemini": _gemini,
}
