"""OpenAI Responses, as the demo vendor reads it: in its words, with its refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kurolproxy.demo.ask import Ask, Media, Offered, Result, Turn, document, uncalled
from kurolproxy.demo.chat_request import EFFORTS, image_url, tool_name
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

# Fields of Chat Completions that people send here by mistake, and so do translators.
_UNKNOWN = (
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "n",
    "seed",
    "response_format",
    "reasoning_effort",
    "functions",
    "function_call",
)
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_MIN_OUTPUT_TOKENS = 16


def read(body: Mapping[str, Any], fingerprint: str) -> Ask:
    """Read a request.

    Raises:
        Refused: in OpenAI's words, for what OpenAI refuses.
    """
    _check_fields(body)
    items(body.get("include") or [], "include")
    entries = _entries(body.get("input"))
    turns = tuple(turn for n, entry in enumerate(entries) for turn in _turns(entry, f"input[{n}]"))
    _check_pairs(turns)
    instructions = body.get("instructions")
    system = () if instructions is None else (Turn("system", text(instructions, "instructions")),)
    choice, allowed = _choice(body.get("tool_choice"))
    return Ask(
        model=text(body.get("model"), "model"),
        turns=(*system, *turns),
        fingerprint=fingerprint,
        tools=_all_tools(body, entries),
        choice=choice,
        allowed=allowed,
        parallel=body.get("parallel_tool_calls") is not False,
        max_tokens=whole_number(
            body.get("max_output_tokens"), "max_output_tokens", least=_MIN_OUTPUT_TOKENS
        ),
        output=_output(body.get("text")),
        thinking=_thinking(body.get("reasoning"), entries),
        stream=flag(body.get("stream"), "stream"),
    )


def _check_fields(body: Mapping[str, Any]) -> None:
    for name in _UNKNOWN:
        if name in body:
            message = f"Unknown parameter: '{name}'."
            raise Refused(400, message, param=name, code="unknown_parameter")
    previous = body.get("previous_response_id")
    if previous is not None:
        message = f"Previous response with id '{previous}' not found."
        code = "previous_response_not_found"
        raise Refused(400, message, param="previous_response_id", code=code)


def _entries(value: Any) -> list[dict[str, Any]]:
    if value is None:
        message = "Missing required parameter: 'input'."
        raise Refused(400, message, param="input", code="missing_required_parameter")
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return [obj(entry, f"input[{n}]") for n, entry in enumerate(items(value, "input"))]


def _thinking(value: Any, entries: list[dict[str, Any]]) -> int | None:
    effort = obj(value or {}, "reasoning").get("effort")
    for entry in entries:
        if entry.get("type") == "configuration_update":
            changed = obj(entry.get("reasoning") or {}, "configuration_update.reasoning")
            effort = changed.get("effort", effort)
    if effort is None:
        return 0
    return None if pick(effort, EFFORTS, "reasoning.effort") == "none" else 0


def _output(value: Any) -> Mapping[str, Any] | None:
    wanted = obj(value or {}, "text").get("format")
    if wanted is None:
        return None
    kinds = {kind: kind for kind in ("text", "json_object", "json_schema")}
    kind = pick(obj(wanted, "text.format").get("type"), kinds, "text.format.type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {}
    text(wanted.get("name"), "text.format.name")
    return obj(wanted.get("schema"), "text.format.schema")


# --- tools ----------------------------------------------------------------------------


def _all_tools(body: Mapping[str, Any], entries: list[dict[str, Any]]) -> tuple[Offered, ...]:
    offered = _tools(body.get("tools"), "tools", None)
    for n, entry in enumerate(entries):
        if entry.get("type") == "additional_tools":
            offered += _tools(entry.get("tools"), f"input[{n}].tools", None)
    return tuple(offered)


def _tools(value: Any, where: str, namespace: str | None) -> list[Offered]:
    """Read the client's own tools; those the vendor would run itself are passed over."""
    offered: list[Offered] = []
    for n, item in enumerate(items(value or [], where)):
        at = f"{where}[{n}]"
        tool = obj(item, at)
        kind = text(tool.get("type"), f"{at}.type")
        if kind not in ("function", "custom", "namespace"):
            continue
        name = tool_name(tool.get("name"), f"{at}.name")
        if kind == "namespace":
            if namespace is not None:
                raise Refused(400, f"A namespace cannot stand in a namespace: '{at}'.", param=at)
            offered += _tools(tool.get("tools"), f"{at}.tools", name)
        elif kind == "custom":
            offered.append(Offered(name, namespace=namespace, free=True))
        else:
            schema = tool.get("parameters")
            known = None if schema is None else obj(schema, f"{at}.parameters")
            offered.append(Offered(name, known, namespace))
    return offered


def _choice(value: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the mode and the names that a ``tool_choice`` allows; none: any."""
    if value is None:
        return "auto", ()
    modes = {mode: mode for mode in ("auto", "none", "required")}
    if isinstance(value, str):
        return pick(value, modes, "tool_choice"), ()
    kind = text(obj(value, "tool_choice").get("type"), "tool_choice.type")
    if kind == "allowed_tools":
        mode = pick(value.get("mode"), modes, "tool_choice.mode")
        tools = items(value.get("tools"), "tool_choice.tools")
        return mode, tuple(text(obj(tool, "tool_choice").get("name"), "name") for tool in tools)
    if kind in ("function", "custom"):
        return "required", (text(value.get("name"), "tool_choice.name"),)
    return "auto", ()


# --- items ----------------------------------------------------------------------------


def _turns(entry: Mapping[str, Any], where: str) -> list[Turn]:
    kind = entry.get("type") or "message"
    reader = _ITEMS.get(text(kind, f"{where}.type"))
    if reader is None:
        # What a vendor-run tool did, and settings: no part of the conversation here.
        return []
    return [reader(entry, where)]


def _message(entry: Mapping[str, Any], where: str) -> Turn:
    role: Any = pick(entry.get("role"), _ROLES, f"{where}.role")
    said, media = _content(entry.get("content"), f"{where}.content")
    return Turn(role, said, media)


def _call(entry: Mapping[str, Any], where: str) -> Turn:
    text(entry.get("arguments"), f"{where}.arguments")
    return Turn("assistant", calls=_named(entry, where))


def _custom_call(entry: Mapping[str, Any], where: str) -> Turn:
    text(entry.get("input"), f"{where}.input")
    return Turn("assistant", calls=_named(entry, where))


def _named(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    call_id = text(entry.get("call_id"), f"{where}.call_id")
    return {call_id: tool_name(entry.get("name"), f"{where}.name")}


def _output_of(entry: Mapping[str, Any], where: str) -> Turn:
    said, media = _content(entry.get("output"), f"{where}.output")
    call_id = text(entry.get("call_id"), f"{where}.call_id")
    return Turn("tool", results=(Result(call_id, said, media=media),))


def _reasoning(entry: Mapping[str, Any], where: str) -> Turn:
    proof = entry.get("encrypted_content")
    if proof is not None and not proves(text(proof, f"{where}.encrypted_content")):
        message = (
            f"The encrypted_content of '{where}' could not be verified. Reason: its signature is "
            "not valid."
        )
        raise Refused(400, message, param=where, code="invalid_encrypted_content")
    items(entry.get("summary"), f"{where}.summary")
    return Turn("assistant")


def _reference(entry: Mapping[str, Any], where: str) -> Turn:
    message = (
        f"Item with id '{entry.get('id')}' not found. Items are not persisted when `store` is "
        "set to false."
    )
    raise Refused(404, message, param=where)


_ITEMS: Mapping[str, Callable[[Mapping[str, Any], str], Turn]] = {
    "message": _message,
    "function_call": _call,
    "custom_tool_call": _custom_call,
    "function_call_output": _output_of,
    "custom_tool_call_output": _output_of,
    "reasoning": _reasoning,
    "item_reference": _reference,
}


def _content(value: Any, where: str) -> tuple[str, Media]:
    if isinstance(value, str):
        return value, Media()
    texts: list[str] = []
    media = Media()
    for n, item in enumerate(items(value, where)):
        part = obj(item, f"{where}[{n}]")
        reader = pick(part.get("type"), _PARTS, f"{where}[{n}].type")
        said, seen = reader(part, f"{where}[{n}]")
        texts.append(said)
        media += seen
    return "\n".join(filter(None, texts)), media


def _text(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    return text(part.get("text"), f"{where}.text"), Media()


def _refused(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    return text(part.get("refusal"), f"{where}.refusal"), Media()


def _image(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    _no_file_id(part, where)
    image_url(part.get("image_url"), f"{where}.image_url")
    return "", Media(images=1)


def _file(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    _no_file_id(part, where)
    if part.get("file_url") is not None:
        return "", document("application/pdf", text(part["file_url"], f"{where}.file_url"))
    mime = data_url(part.get("file_data"), f"{where}.file_data")
    return "", document(mime, maybe_text(part.get("filename"), f"{where}.filename"))


def _no_file_id(part: Mapping[str, Any], where: str) -> None:
    if part.get("file_id") is not None:
        raise Refused(404, f"No such File object: {part['file_id']}", param=where)


def _audio(part: Mapping[str, Any], where: str) -> tuple[str, Media]:
    audio = obj(part.get("input_audio"), f"{where}.input_audio")
    base64_data(audio.get("data"), f"{where}.input_audio.data")
    return "", Media(audio=1)


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], tuple[str, Media]]] = {
    "input_text": _text,
    "output_text": _text,
    "refusal": _refused,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _check_pairs(turns: tuple[Turn, ...]) -> None:
    """Check that every call is answered, wherever its output stands after it."""
    if stray := uncalled(turns):
        message = f"No tool call found for function call output with call_id {stray[0]}."
        raise Refused(400, message, param="input")
    answered = {result.call_id for turn in turns for result in turn.results}
    for call_id in (call_id for turn in turns for call_id in turn.calls):
        if call_id not in answered:
            message = f"No tool output found for function call {call_id}."
            raise Refused(400, message, param="input")
