"""Gemini, as the demo vendor reads it: in its words, with its refusals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kurolproxy.demo.ask import Ask, Media, Offered, Result, Turn, document
from kurolproxy.demo.proof import proves
from kurolproxy.demo.read import (
    Refused,
    base64_data,
    dumps,
    items,
    maybe_text,
    obj,
    pick,
    text,
    whole_number,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_ROLES: Mapping[str, str] = {"user": "user", "model": "assistant", "function": "user"}
_MODES = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}
# What a history from elsewhere may say instead of a signature.
_NO_SIGNATURE = "skip_thought_signature_validator"
_MAX_STOPS = 5
_MAX_SCHEMA_DEPTH = 64
# The dialect of ``parameters`` and ``responseSchema``; everything else is unknown there.
_SCHEMA_FIELDS = frozenset(
    (
        "type",
        "format",
        "title",
        "description",
        "nullable",
        "enum",
        "items",
        "maxItems",
        "minItems",
        "properties",
        "required",
        "minProperties",
        "maxProperties",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "default",
        "example",
        "anyOf",
        "propertyOrdering",
        "additionalProperties",
        "defs",
        "ref",
    )
)


def read(body: Mapping[str, Any], fingerprint: str, *, model: str, stream: bool) -> Ask:
    """Read a request.

    Raises:
        Refused: in Google's words, for what Google refuses.
    """
    contents = items(get(body, "contents") or [], "contents")
    if not contents:
        raise Refused(400, "* GenerateContentRequest.contents: contents is not specified\n")
    turns = [_turn(content, f"contents[{n}]") for n, content in enumerate(contents)]
    _check_answers(turns)
    _check_signatures(contents, turns, model)
    config = obj(get(body, "generationConfig") or {}, "generation_config")
    mode, allowed = _choice(get(body, "toolConfig"))
    return Ask(
        model=model,
        turns=(*_system(get(body, "systemInstruction")), *turns),
        fingerprint=fingerprint,
        tools=_tools(get(body, "tools")),
        choice=mode,
        allowed=allowed,
        max_tokens=whole_number(get(config, "maxOutputTokens"), "max_output_tokens", least=1),
        stop=_stop(get(config, "stopSequences")),
        output=_output(config),
        thinking=_thinking(get(config, "thinkingConfig")),
        n=whole_number(get(config, "candidateCount"), "candidate_count", least=1) or 1,
        stream=stream,
    )


def get(value: Mapping[str, Any], name: str) -> Any:
    """Return a field by its JSON name or by its name in the protocol buffer."""
    found = value.get(name)
    return value.get(re.sub("([A-Z])", r"_\1", name).lower()) if found is None else found


def _stop(value: Any) -> tuple[str, ...]:
    found = items(value or [], "stop_sequences")
    if len(found) > _MAX_STOPS:
        raise Refused(400, f"stop_sequences: at most {_MAX_STOPS} are allowed.")
    return tuple(text(one, "stop_sequences") for one in found)


def _thinking(value: Any) -> int | None:
    if value is None:
        return 0
    config = obj(value, "thinking_config")
    budget = whole_number(get(config, "thinkingBudget"), "thinking_budget", least=-1)
    if budget == 0:
        return None
    return 0 if budget is None or budget < 0 else budget


def _output(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    old, new = get(config, "responseSchema"), get(config, "responseJsonSchema")
    if get(config, "responseMimeType") != "application/json":
        if old is not None or new is not None:
            message = (
                "* GenerateContentRequest.generation_config.response_schema: a response schema "
                "needs the response mime type application/json\n"
            )
            raise Refused(400, message)
        return None
    if old is not None:
        _check_schema(old, "generation_config.response_schema")
    wanted = new if old is None else old
    return {} if wanted is None else obj(wanted, "response_schema")


# --- tools ----------------------------------------------------------------------------


def _tools(value: Any) -> tuple[Offered, ...]:
    """Read the client's own tools; those the vendor would run itself are passed over."""
    offered: list[Offered] = []
    for n, tool in enumerate(items(value or [], "tools")):
        declared = get(obj(tool, f"tools[{n}]"), "functionDeclarations") or []
        where = f"tools[{n}].function_declarations"
        for m, item in enumerate(items(declared, where)):
            offered.append(_declared(obj(item, f"{where}[{m}]"), f"{where}[{m}]"))
    return tuple(offered)


def _declared(function: Mapping[str, Any], where: str) -> Offered:
    name = text(function.get("name"), f"{where}.name")
    if not _NAME.fullmatch(name):
        message = (
            f"* GenerateContentRequest.{where}.name: Invalid function name. Must start with a "
            "letter or an underscore. Must be alphanumeric, underscores, dots, colons or dashes, "
            "with a maximum length of 128.\n"
        )
        raise Refused(400, message)
    schema = get(function, "parametersJsonSchema")
    if schema is None and (schema := function.get("parameters")) is not None:
        _check_schema(schema, f"{where}.parameters")
    return Offered(name, None if schema is None else obj(schema, f"{where}.parameters"))


def _check_schema(value: Any, where: str, depth: int = 0) -> None:
    schema = obj(value, where)
    if depth > _MAX_SCHEMA_DEPTH:
        raise Refused(400, f"{where}: the schema exceeds the maximum allowed nesting depth.")
    for name in schema:
        if name not in _SCHEMA_FIELDS:
            message = (
                f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot "
                "find field."
            )
            raise Refused(400, message)
    for name, inner in obj(schema.get("properties") or {}, f"{where}.properties").items():
        _check_schema(inner, f"{where}.properties[{name}]", depth + 1)
    if schema.get("items") is not None:
        _check_schema(schema["items"], f"{where}.items", depth + 1)
    for n, inner in enumerate(items(schema.get("anyOf") or [], f"{where}.any_of")):
        _check_schema(inner, f"{where}.any_of[{n}]", depth + 1)


def _choice(value: Any) -> tuple[Any, tuple[str, ...]]:
    config = obj(get(obj(value or {}, "tool_config"), "functionCallingConfig") or {}, "tool_config")
    mode = pick(config.get("mode", "AUTO"), _MODES, "tool_config.function_calling_config.mode")
    allowed = items(get(config, "allowedFunctionNames") or [], "allowed_function_names")
    return mode, tuple(text(name, "allowed_function_names") for name in allowed)


# --- contents -------------------------------------------------------------------------


def _system(value: Any) -> tuple[Turn, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (Turn("system", value),)
    said = _turn({**obj(value, "system_instruction"), "role": "user"}, "system_instruction")
    return (Turn("system", said.text),)


def _turn(value: Any, where: str) -> Turn:
    content = obj(value, where)
    role: Any = pick(content.get("role") or "user", _ROLES, f"{where}.role")
    turn = Turn(role)
    for n, item in enumerate(items(content.get("parts") or [], f"{where}.parts")):
        at = f"{where}.parts[{n}]"
        part = obj(item, at)
        _check_proof(part, at)
        kinds = [kind for kind in _PARTS if get(part, kind) is not None]
        if len(kinds) > 1:
            raise Refused(400, f"{at}: oneof field 'data' is already set.")
        if kinds and not part.get("thought"):
            turn = _joined(turn, _PARTS[kinds[0]](get(part, kinds[0]), at))
    return turn


def _check_proof(part: Mapping[str, Any], where: str) -> None:
    proof = get(part, "thoughtSignature")
    if proof in (None, _NO_SIGNATURE):
        return
    # A signature that stands on a thought's text belongs to that very text.
    thought = part.get("text") if part.get("thought") else None
    if not proves(text(proof, f"{where}.thought_signature"), thought):
        raise Refused(400, f"{where}: Thought signature is not valid.")


def _joined(turn: Turn, more: Turn) -> Turn:
    return Turn(
        turn.role,
        "\n".join(filter(None, [turn.text, more.text])),
        turn.media + more.media,
        {**turn.calls, **more.calls},
        turn.results + more.results,
    )


def _text(value: Any, where: str) -> Turn:
    return Turn("user", text(value, f"{where}.text"))


def _inline(value: Any, where: str) -> Turn:
    data = obj(value, f"{where}.inline_data")
    base64_data(data.get("data"), f"{where}.inline_data.data")
    mime = text(get(data, "mimeType"), f"{where}.inline_data.mime_type")
    return Turn("user", media=_media(mime, maybe_text(get(data, "displayName"), where)))


def _file(value: Any, where: str) -> Turn:
    data = obj(value, f"{where}.file_data")
    uri = text(get(data, "fileUri"), f"{where}.file_data.file_uri")
    return Turn("user", media=_media(maybe_text(get(data, "mimeType"), where) or "", uri))


def _media(mime: str, name: str | None) -> Media:
    if mime.startswith("image/"):
        return Media(images=1)
    if mime.startswith("audio/"):
        return Media(audio=1)
    return document(mime, name)


def _call(value: Any, where: str) -> Turn:
    call = obj(value, f"{where}.function_call")
    obj(call.get("args") or {}, f"{where}.function_call.args")
    name = text(call.get("name"), f"{where}.function_call.name")
    # Without an id a result finds its call by name and order.
    return Turn("assistant", calls={str(call.get("id") or f"{where} {name}"): name})


def _response(value: Any, where: str) -> Turn:
    answer = obj(value, f"{where}.function_response")
    name = text(answer.get("name"), f"{where}.function_response.name")
    response = obj(answer.get("response"), f"{where}.function_response.response")
    failed = "error" in response
    said = response.get("error") if failed else response.get("output", response)
    media = Media()
    for n, part in enumerate(items(answer.get("parts") or [], f"{where}.parts")):
        media += _result_media(part, f"{where}.function_response.parts[{n}]")
    shown = said if isinstance(said, str) else dumps(said)
    result = Result(str(answer.get("id") or ""), shown, name, media, failed)
    return Turn("user", results=(result,))


def _result_media(value: Any, where: str) -> Media:
    part = obj(value, where)
    if (inline := get(part, "inlineData")) is not None:
        return _inline(inline, where).media
    return _file(get(part, "fileData"), where).media


_PARTS: Mapping[str, Callable[[Any, str], Turn]] = {
    "text": _text,
    "inlineData": _inline,
    "fileData": _file,
    "functionCall": _call,
    "functionResponse": _response,
    "executableCode": lambda _value, _where: Turn("assistant"),
    "codeExecutionResult": lambda _value, _where: Turn("assistant"),
}


def _check_answers(turns: list[Turn]) -> None:
    """Check that each turn of calls is answered by the next one, call by call."""
    # The vendor's own Node SDK sends a streamed turn back as one content for each chunk.
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1] = _joined(merged[-1], turn)
        else:
            merged.append(turn)
    nobody = Turn("user")
    for before, after in zip([nobody, *merged], [*merged, nobody], strict=True):
        if not before.calls and not after.results:
            continue
        called = sorted(before.calls.values())
        if called != sorted(result.name for result in after.results):
            message = (
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn."
            )
            raise Refused(400, message)


def _check_signatures(contents: list[Any], turns: list[Turn], model: str) -> None:
    """The first call of each step of the current turn has to bring its thought's proof."""
    if model != "demo-think":
        return
    asked = max((n for n, turn in enumerate(turns) if turn.text and _asks(turn)), default=0)
    for n, content in enumerate(contents[asked:], asked):
        calls = [part for part in content.get("parts") or [] if get(part, "functionCall")]
        if calls and get(calls[0], "thoughtSignature") is None:
            name = get(calls[0], "functionCall").get("name")
            message = (
                f"Function call `{name}` in the {n + 1}. content block is missing a "
                "`thought_signature`."
            )
            raise Refused(400, message)


def _asks(turn: Turn) -> bool:
    return turn.role == "user" and not turn.results
