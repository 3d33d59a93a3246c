"""Anthropic Messages, as the demo vendor reads it: in its words, with its refusals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
    flag,
    items,
    maybe_text,
    obj,
    pick,
    text,
    whole_number,
)

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_IMAGE_TYPES = {name: name for name in ("image/jpeg", "image/png", "image/gif", "image/webp")}
_CHOICES = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}
_MIN_BUDGET = 1_024
# From this version on the three parameters of sampling are gone.
_NO_SAMPLING = "2026-10-21"


def read(body: Mapping[str, Any], fingerprint: str, *, version: str, counting: bool) -> Ask:
    """Read a request.

    Args:
        version: the ``anthropic-version`` header.
        counting: it only wants its tokens counted, and then needs no ``max_tokens``.

    Raises:
        Refused: in Anthropic's words, for what Anthropic refuses.
    """
    model = text(_field(body, "model"), "model")
    max_tokens = None if counting else _max_tokens(body)
    _check_sampling(body, version)
    turns = _merged([_turn(value, n) for n, value in enumerate(_messages(body))])
    _check_pairs(turns)
    thinking = _thinking(body.get("thinking"), max_tokens)
    if thinking:
        _check_thinking_first(body)
    choice = obj(body.get("tool_choice") or {"type": "auto"}, "tool_choice")
    mode: Any = pick(choice.get("type"), _CHOICES, "tool_choice.type")
    return Ask(
        model=model,
        turns=(*_system(body.get("system")), *turns),
        fingerprint=fingerprint,
        tools=_tools(body.get("tools")),
        choice=mode,
        allowed=(text(choice.get("name"), "tool_choice.name"),) if "name" in choice else (),
        parallel=not choice.get("disable_parallel_tool_use"),
        max_tokens=max_tokens,
        stop=tuple(
            text(one, "stop_sequences")
            for one in items(body.get("stop_sequences") or [], "stop_sequences")
        ),
        output=_output(body),
        thinking=thinking,
        cache="explicit" if _wants_cache(body) else "none",
        stream=flag(body.get("stream"), "stream"),
    )


def _field(body: Mapping[str, Any], name: str) -> Any:
    if body.get(name) is None:
        raise Refused(400, f"{name}: Field required")
    return body[name]


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    return whole_number(_field(body, "max_tokens"), "max_tokens", least=1)


def _check_sampling(body: Mapping[str, Any], version: str) -> None:
    for name in ("temperature", "top_p", "top_k"):
        if name in body and version >= _NO_SAMPLING:
            raise Refused(400, f"{name}: Extra inputs are not permitted")
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 1:
        raise Refused(400, "temperature: range: 0..1")


def _thinking(value: Any, max_tokens: int | None) -> int | None:
    """Return the budget of tokens to think with, 0 for the model's choice, None for none."""
    if value is None:
        return None
    kinds = {kind: kind for kind in ("enabled", "adaptive", "between_tools", "disabled")}
    kind = pick(obj(value, "thinking").get("type"), kinds, "thinking.type")
    if kind != "enabled":
        return None if kind == "disabled" else 0
    budget = whole_number(value.get("budget_tokens"), "thinking.budget_tokens", least=0)
    if budget is None or budget < _MIN_BUDGET:
        message = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        raise Refused(400, message)
    if max_tokens is not None and budget >= max_tokens:
        raise Refused(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    return budget


def _check_thinking_first(body: Mapping[str, Any]) -> None:
    """With a budget to think, a turn that waits for results has to begin with its thought."""
    messages = body["messages"]
    for number in range(len(messages) - 1, -1, -1):
        message = messages[number]
        if message["role"] != "assistant":
            continue
        blocks = message["content"] if isinstance(message["content"], list) else []
        kinds = [block["type"] for block in blocks]
        if "tool_use" in kinds and "thinking" not in kinds[0]:
            where = f"messages.{number}.content.0.type"
            message = (
                f"{where}: Expected `thinking` or `redacted_thinking`, but found `{kinds[0]}`. "
                "When `thinking` is enabled, a final `assistant` message must start with a "
                "thinking block."
            )
            raise Refused(400, message)
        return


def _output(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config = obj(body.get("output_config") or {}, "output_config")
    wanted = config.get("format") or body.get("output_format")
    if wanted is None:
        return None
    return obj(obj(wanted, "output_config.format").get("schema"), "output_config.format.schema")


def _wants_cache(body: Mapping[str, Any]) -> bool:
    """Tell whether anything asks for the prompt cache: the request, a tool or a block."""
    blocks: list[Any] = [body, *(body.get("tools") or [])]
    for holder in (body.get("system"), *(message["content"] for message in body["messages"])):
        blocks += holder if isinstance(holder, list) else []
    return any(isinstance(block, dict) and block.get("cache_control") for block in blocks)


def _tools(value: Any) -> tuple[Offered, ...]:
    """Read the client's own tools; those the vendor would run itself are passed over."""
    offered: list[Offered] = []
    for n, item in enumerate(items(value or [], "tools")):
        tool = obj(item, f"tools.{n}")
        if tool.get("type") not in (None, "custom"):
            continue
        name = text(tool.get("name"), f"tools.{n}.custom.name")
        if not _NAME.fullmatch(name):
            pattern = "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"
            raise Refused(400, f"tools.{n}.custom.name: {pattern}")
        schema = obj(tool.get("input_schema"), f"tools.{n}.custom.input_schema")
        if schema.get("type") != "object":
            raise Refused(400, f"tools.{n}.custom.input_schema.type: Input should be 'object'")
        if not tool.get("defer_loading"):
            offered.append(Offered(name, schema))
    return tuple(offered)


# --- messages -------------------------------------------------------------------------


def _messages(body: Mapping[str, Any]) -> list[Any]:
    messages = items(_field(body, "messages"), "messages")
    if not messages:
        raise Refused(400, "messages: at least one message is required")
    return messages


def _system(value: Any) -> tuple[Turn, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (Turn("system", value),)
    return tuple(
        Turn("system", text(obj(block, f"system.{n}").get("text"), f"system.{n}.text"))
        for n, block in enumerate(items(value, "system"))
    )


def _turn(value: Any, number: int) -> Turn:
    where = f"messages.{number}"
    message = obj(value, where)
    roles = {"user": "user", "assistant": "assistant", "system": "system"}
    role: Any = pick(message.get("role"), roles, f"{where}.role")
    if "content" not in message:
        raise Refused(400, f"{where}.content: Field required")
    turn = Turn(role)
    for block, at in _blocks(message["content"], f"{where}.content"):
        kind = text(block.get("type"), f"{at}.type")
        reader = _BLOCKS.get(kind)
        if reader is None and not _is_hosted(kind):
            raise Refused(400, f"{at}: Input tag '{kind}' found using 'type' is not known")
        if reader is not None:
            turn = _joined(turn, reader(block, at))
    return turn


def _is_hosted(kind: str) -> bool:
    """Tell whether a block is the history of a tool that the vendor ran itself."""
    return kind == "server_tool_use" or kind.endswith("_tool_result")


def _blocks(content: Any, where: str) -> list[tuple[dict[str, Any], str]]:
    if isinstance(content, str):
        return [({"type": "text", "text": content}, where)] if content else []
    return [
        (obj(block, f"{where}.{n}"), f"{where}.{n}")
        for n, block in enumerate(items(content, where))
    ]


def _joined(turn: Turn, more: Turn) -> Turn:
    if more.results and (turn.text or turn.media):
        message = (
            "messages: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{more.results[0].call_id}. `tool_result` blocks have to come first in their message."
        )
        raise Refused(400, message)
    return Turn(
        turn.role,
        "\n".join(filter(None, [turn.text, more.text])),
        turn.media + more.media,
        {**turn.calls, **more.calls},
        turn.results + more.results,
    )


def _merged(turns: list[Turn]) -> tuple[Turn, ...]:
    """Join neighbours of one role, as the vendor does."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1] = _joined(merged[-1], turn)
        else:
            merged.append(turn)
    return tuple(merged)


def _text(block: Mapping[str, Any], where: str) -> Turn:
    said = text(block.get("text"), f"{where}.text")
    if not said:
        raise Refused(400, f"{where}: text content blocks must be non-empty")
    return Turn("user", said)


def _image(block: Mapping[str, Any], where: str) -> Turn:
    source = obj(block.get("source"), f"{where}.source")
    if source.get("type") == "base64":
        pick(source.get("media_type"), _IMAGE_TYPES, f"{where}.source.base64.media_type")
        base64_data(source.get("data"), f"{where}.source.base64.data")
    else:
        _address(source, where)
    return Turn("user", media=Media(images=1))


def _document(block: Mapping[str, Any], where: str) -> Turn:
    source = obj(block.get("source"), f"{where}.source")
    title = maybe_text(block.get("title"), f"{where}.title")
    if source.get("type") == "text":
        text(source.get("data"), f"{where}.source.text.data")
        return Turn("user", media=document("text/plain"))
    if source.get("type") == "content":
        return Turn("user", media=document("text/plain"))
    if source.get("type") == "base64":
        kinds = {"application/pdf": ""}
        pick(source.get("media_type"), kinds, f"{where}.source.base64.media_type")
        base64_data(source.get("data"), f"{where}.source.base64.data")
        return Turn("user", media=document("application/pdf", title))
    _address(source, where)
    return Turn("user", media=document("application/pdf", title))


def _address(source: Mapping[str, Any], where: str) -> None:
    if source.get("type") == "file":
        raise Refused(404, f"File not found: {source.get('file_id')}")
    pick(source.get("type"), {"url": ""}, f"{where}.source.type")
    if not text(source.get("url"), f"{where}.source.url.url").startswith(("http://", "https://")):
        raise Refused(400, f"{where}.source.url.url: Only HTTPS URLs are supported.")


def _thought(block: Mapping[str, Any], where: str) -> Turn:
    said = text(block.get("thinking"), f"{where}.thinking.thinking")
    if not proves(text(block.get("signature"), f"{where}.thinking.signature"), said):
        raise Refused(400, f"{where}: Invalid `signature` in `thinking` block")
    return Turn("assistant")


def _redacted(block: Mapping[str, Any], where: str) -> Turn:
    if not proves(text(block.get("data"), f"{where}.redacted_thinking.data")):
        raise Refused(400, f"{where}: Invalid `data` in `redacted_thinking` block: bad signature")
    return Turn("assistant")


def _tool_use(block: Mapping[str, Any], where: str) -> Turn:
    call_id = text(block.get("id"), f"{where}.tool_use.id")
    if not _CALL_ID.fullmatch(call_id):
        pattern = "String should match pattern '^[a-zA-Z0-9_-]+$'"
        raise Refused(400, f"{where}.tool_use.id: {pattern}")
    obj(block.get("input"), f"{where}.tool_use.input")
    return Turn("assistant", calls={call_id: text(block.get("name"), f"{where}.tool_use.name")})


def _tool_result(block: Mapping[str, Any], where: str) -> Turn:
    inner = Turn("user")
    for part, at in _blocks(block.get("content") or [], f"{where}.tool_result.content"):
        reader = pick(part.get("type"), _RESULT_BLOCKS, f"{at}.type")
        inner = _joined(inner, reader(part, at))
    call_id = text(block.get("tool_use_id"), f"{where}.tool_result.tool_use_id")
    failed = flag(block.get("is_error"), f"{where}.tool_result.is_error")
    result = Result(call_id, inner.text, media=inner.media, failed=failed)
    return Turn("user", results=(result,))


def _reference(block: Mapping[str, Any], where: str) -> Turn:
    return Turn("user", f"[tool {text(block.get('tool_name'), f'{where}.tool_name')}]")


def _found(block: Mapping[str, Any], where: str) -> Turn:
    said = [
        text(part.get("text"), at) for part, at in _blocks(block.get("content"), f"{where}.content")
    ]
    return Turn("user", "\n".join(said))


Reader = Callable[[Mapping[str, Any], str], Turn]

_RESULT_BLOCKS: Mapping[str, Reader] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _found,
    "tool_reference": _reference,
}
_BLOCKS: Mapping[str, Reader] = {
    **_RESULT_BLOCKS,
    "thinking": _thought,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


def _check_pairs(turns: tuple[Turn, ...]) -> None:
    if stray := uncalled(turns):
        message = (
            f"messages: unexpected `tool_use_id` found in `tool_result` blocks: {stray[0]}. Each "
            "`tool_result` block must have a corresponding `tool_use` block in the previous "
            "message."
        )
        raise Refused(400, message)
    if missing := unanswered(turns):
        message = (
            "messages: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` "
            "block in the next message."
        )
        raise Refused(400, message)
