"""OpenAI Chat Completions, as the demo vendor reads it: in its words, with its refusals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kurolproxy.demo.ask import (
    Ask,
    Media,
    Offered,
    Result,
    Turn,
    document,
    unanswered,
    uncalled,
)
from kurolproxy.demo.proof import proves
from kurolproxy.demo.read import (
    Refused,
    base64_data,
    data_url,
    flag,
    items,
    maybe_text,
    obj,
    pick,
    text,
    whole_number,
)

_ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
EFFORTS = {name: name for name in ("none", "minimal", "low", "medium", "high", "xhigh", "max")}


def read(body: Mapping[str, Any], fingerprint: str) -> Ask:
    """Read a request.

    Raises:
        Refused: in OpenAI's words, for what OpenAI refuses.
    """
    messages = _messages(body)
    stream = flag(body.get("stream"), "stream")
    if body.get("stream_options") is not None and not stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refused(400, message, param="stream_options")
    obj(body.get("stream_options") or {}, "stream_options")
    turns = tuple(_turn(message, f"messages[{n}]") for n, message in enumerate(messages))
    _check_pairs(turns)
    choice, allowed = _choice(body.get("tool_choice"))
    effort = body.get("reasoning_effort")
    return Ask(
        model=text(body.get("model"), "model"),
        turns=turns,
        fingerprint=fingerprint,
        tools=tuple(
            _tool(tool, f"tools[{n}]")
            for n, tool in enumerate(items(body.get("tools") or [], "tools"))
        ),
        choice=choice,
        allowed=allowed,
        parallel=body.get("parallel_tool_calls") is not False,
        max_tokens=_max_tokens(body),
        stop=_stop(body.get("stop")),
        output=_output(body.get("response_format")),
        thinking=None if effort and pick(effort, EFFORTS, "reasoning_effort") == "none" else 0,
        n=whole_number(body.get("n"), "n", least=1) or 1,
        stream=stream,
    )


def _messages(body: Mapping[str, Any]) -> list[Any]:
    messages = items(body.get("messages"), "messages")
    if not messages:
        message = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got "
            "an empty array instead."
        )
        raise Refused(400, message, param="messages", code="empty_array")
    return messages


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        found = whole_number(body.get(name), name, least=1)
        if found is not None:
            return found
    return None


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    found = items(value, "stop")
    if len(found) > 4:
        raise Refused(400, "Invalid 'stop': expected at most 4 strings.", param="stop")
    return tuple(text(one, "stop") for one in found)


def _output(value: Any) -> Mapping[str, Any] | None:
    if value is None:
        return None
    kinds = {kind: kind for kind in ("text", "json_object", "json_schema")}
    kind = pick(obj(value, "response_format").get("type"), kinds, "response_format.type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {}
    inner = obj(value.get("json_schema"), "response_format.json_schema")
    text(inner.get("name"), "response_format.json_schema.name")
    return obj(inner.get("schema") or {}, "response_format.json_schema.schema")


# --- tools ---


def _tool(value: Any, where: str) -> Offered:
    tool = obj(value, where)
    readers = {
        "function": partial(_function, obj(tool.get("function") or {}, where), where),
        "custom": partial(_custom, obj(tool.get("custom") or {}, where), where),
    }
    reader: Callable[[], Offered] = pick(tool.get("type"), readers, f"{where}.type")
    return reader()


def _function(inner: Mapping[str, Any], where: str) -> Offered:
    name = tool_name(inner.get("name"), f"{where}.function.name")
    schema = inner.get("parameters")
    return Offered(name, schema if schema is None else obj(schema, f"{where}.function.parameters"))


def _custom(inner: Mapping[str, Any], where: str) -> Offered:
    return Offered(tool_name(inner.get("name"), f"{where}.custom.name"), free=True)


def tool_name(value: Any, where: str) -> str:
    """Return a tool's name, which has to fit OpenAI's pattern."""
    name = text(value, where)
    if not _NAME.fullmatch(name):
        message = (
            f"Invalid '{where}': string does not match pattern. Expected a string that matches "
            "the pattern '^[a-zA-Z0-9_-]{1,64}$'."
        )
        raise Refused(400, message, param=where, code="invalid_value")
    return name


def _choice(value: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the mode and the names that a ``tool_choice`` allows; none: any."""
    if value is None:
        return "auto", ()
    if isinstance(value, str):
        modes = {mode: mode for mode in ("auto", "none", "required")}
        return pick(value, modes, "tool_choice"), ()
    kind = obj(value, "tool_choice").get("type")
    if kind == "allowed_tools":
        inner = obj(value.get("allowed_tools"), "tool_choice.allowed_tools")
        tools = items(inner.get("tools"), "tool_choice.allowed_tools.tools")
        return inner.get("mode", "auto"), tuple(_named(tool) for tool in tools)
    return "required", (_named(value),)


def _named(value: Any) -> str:
    kind = obj(value, "tool_choice").get("type")
    inner = value.get(kind) if kind in ("function", "custom") else None
    return text(obj(inner, "tool_choice").get("name"), "tool_choice.name")


# --- messages ---


def _turn(value: Any, where: str) -> Turn:
    message = obj(value, where)
    role: Any = pick(message.get("role"), _ROLES, f"{where}.role")
    calls = items(message.get("tool_calls") or [], f"{where}.tool_calls")
    if message.get("content") is None and not (role == "assistant" and calls):
        what = f"Invalid value for 'content': expected a string, got null. ({where}.content)"
        raise Refused(400, what, param=f"{where}.content")
    said, media = _content(message.get("content"), f"{where}.content")
    if role == "tool":
        call_id = text(message.get("tool_call_id"), f"{where}.tool_call_id")
        return Turn("tool", results=(Result(call_id, said, media=media),))
    named = dict(_call(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(calls))
    return Turn(role, said, media, named)


def _call(value: Any, where: str) -> tuple[str, str]:
    """Read a call of the history and check the proof that it may carry."""
    call = obj(value, where)
    inner = obj(call.get("custom" if call.get("type") == "custom" else "function"), where)
    text(inner.get("arguments", inner.get("input")), f"{where}.function.arguments")
    extra = obj(call.get("extra_content") or {}, f"{where}.extra_content")
    proof = obj(extra.get("google") or {}, f"{where}.extra_content.google").get("thought_signature")
    if proof is not None and not proves(text(proof, where)):
        message = f"Invalid thought_signature in '{where}.extra_content'."
        raise Refused(400, message, param=where, code="invalid_signature")
    call_id = text(call.get("id"), f"{where}.id")
    return call_id, tool_name(inner.get("name"), f"{where}.function.name")


def _content(value: Any, where: str) -> tuple[str, Media]:
    if value is None or isinstance(value, str):
        return value or "", Media()
    texts: list[str] = []
    media = Media()
    for n, item in enumerate(items(value, where)):
        part = obj(item, f"{where}[{n}]")
        reader = pick(part.get("type"), _PARTS, f"{where}[{n}].type")
        said, seen = reader(part, f"{where}[{n}]")
        texts.append(said)
        media += seen
    return "\n".join(filter(None, texts)), media


def _image(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    image_url(obj(part.get("image_url"), f"{where}.image_url").get("url"), f"{where}.image_url.url")
    return "", Media(images=1)


def image_url(value: Any, where: str) -> None:
    """Check an image's address: http, or a data URL."""
    if not text(value, where).startswith(("http://", "https://")):
        data_url(value, where)


def _file(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    file = obj(part.get("file"), f"{where}.file")
    if file.get("file_id") is not None:
        raise Refused(404, f"No such File object: {file['file_id']}", param=where)
    mime = data_url(file.get("file_data"), f"{where}.file.file_data")
    return "", document(mime, maybe_text(file.get("filename"), f"{where}.file.filename"))


def _audio(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    audio = obj(part.get("input_audio"), f"{where}.input_audio")
    base64_data(audio.get("data"), f"{where}.input_audio.data")
    pick(audio.get("format"), {"wav": "", "mp3": ""}, f"{where}.input_audio.format")
    return "", Media(audio=1)


def _text(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    return text(part.get("text"), f"{where}.text"), Media()


def _refused(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    return text(part.get("refusal"), f"{where}.refusal"), Media()


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], tuple[str, Media]]] = {
    "text": _text,
    "refusal": _refused,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}


def _check_pairs(turns: tuple[Turn, ...]) -> None:
    if stray := uncalled(turns):
        message = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceding "
            f"message with 'tool_calls'. ({stray[0]})"
        )
        raise Refused(400, message, param="messages")
    if missing := unanswered(turns):
        message = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response "
            f"messages: {', '.join(missing)}"
        )
        raise Refused(400, message, param="messages")
