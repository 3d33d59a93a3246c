"""The answer that is not streamed, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kurolproxy.ir import (
    Block,
    BlockKind,
    Cited,
    Delta,
    Failure,
    Response,
    Start,
    StreamEvent,
    ToolHead,
    UsageSeen,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_chat.calls import Blocks
from kurolproxy.protocols.openai_chat.error import read_error
from kurolproxy.protocols.openai_chat.messages import reasoning_text, thought_signature
from kurolproxy.protocols.openai_chat.vocabulary import (
    FINISH_WORDS,
    SealCarrier,
    as_object,
    as_text,
    choice_index,
    content_pieces,
    finish,
    read_arguments,
    read_call,
    read_citations,
    read_usage,
    write_citation,
    write_usage,
)

# --- decode -------------------------------------------------------------------------------------


def decode_response(value: Any, answer: AnswerContext) -> list[StreamEvent]:
    """Read a whole answer.

    Args:
        value: the document; anything at all.

    Returns:
        a whole event list, which ends with a ``Failure`` when this is no answer.
    """
    choice = _choice(value)
    if isinstance(choice, Failure):
        return [Start(), choice]
    message = as_object(choice.get("message"))
    blocks = Blocks(answer.family)
    blocks.events.append(Start(as_text(value.get("id")), as_text(value.get("model"))))
    _words(blocks, message)
    called = [_decode_call(blocks, call, answer) for call in _tool_calls(message)]
    blocks.close()
    usage = read_usage(value)
    if usage is not None:
        blocks.events.append(UsageSeen(usage))
    blocks.events.append(finish(as_text(choice.get("finish_reason")), called=any(called)))
    return blocks.events


def _choice(value: Any) -> dict[str, Any] | Failure:
    """Return the answer's choice; of several, the first one's."""
    if not isinstance(value, dict):
        return Failure("the upstream's answer is no completion")
    failure = read_error(value)
    if failure is not None:
        return failure
    choices = value.get("choices")
    items = choices if isinstance(choices, list) else []
    found = [each for each in items if isinstance(each, dict)]
    first = next((each for each in found if choice_index(each) == 0), None)
    if first is None or not ("message" in first or first.get("finish_reason")):
        return Failure("the upstream's answer is no completion")
    # OpenRouter: the vendor behind it broke off.
    return read_error(first) or first


def _tool_calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        found.append({"function": legacy})
    return found


def _words(blocks: Blocks, message: dict[str, Any]) -> None:
    thought = reasoning_text(message)
    if thought:
        blocks.say("reasoning", thought)
    for kind, text in content_pieces(message.get("content")):
        if text:
            blocks.say(kind, text)
    if blocks.kind == "text":
        blocks.events += [Cited(blocks.index, each) for each in read_citations(message)]
    refusal = as_text(message.get("refusal"))
    if refusal:
        blocks.say("refusal", refusal)


def _decode_call(blocks: Blocks, call: dict[str, Any], answer: AnswerContext) -> bool:
    """Write the block of a call; one without a name is none (Snowflake fills in empty ones)."""
    head = read_call(call)
    if not head.name:
        return False
    proof = thought_signature(call)
    if proof is not None:
        blocks.prove(proof)
    call_id = head.id or answer.new_id("call_")
    blocks.open("tool", ToolHead(call_id, head.name, head.kind))
    args = read_arguments(call)
    if args:
        blocks.events.append(Delta(blocks.index, args))
    return True


# --- encode -------------------------------------------------------------------------------------


def encode_response(response: Response, answer: AnswerContext) -> bytes:
    """Write a whole answer."""
    answer_id = answer.new_id("chatcmpl-")
    word = FINISH_WORDS[response.finish.reason]
    if answer.request.legacy_functions and word == "tool_calls":
        word = "function_call"
    choice = {
        "index": 0,
        "message": _message(response, answer),
        "logprobs": None,
        "finish_reason": word,
    }
    body: dict[str, Any] = {
        "id": answer_id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [choice],
    }
    if response.usage is not None:
        body["usage"] = write_usage(response.usage)
    return wire.dumps(body)


def _message(response: Response, answer: AnswerContext) -> dict[str, Any]:
    texts = _texts(response.blocks, "text")
    refusal = _texts(response.blocks, "refusal") or response.finish.detail
    calls = _calls(response.blocks, answer)
    thought = _texts(response.blocks, "reasoning")
    message: dict[str, Any] = {
        "role": "assistant",
        # Null only where something else was said instead.
        "content": texts or (None if calls or refusal else ""),
        "refusal": refusal or None,
    }
    if thought:
        message["reasoning_content"] = thought
    notes = _annotations(response.blocks)
    if notes:
        message["annotations"] = notes
    if calls and answer.request.legacy_functions:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    return message


def _texts(blocks: Iterable[Block], kind: BlockKind) -> str:
    return "".join(block.text for block in blocks if block.kind == kind)


def _annotations(blocks: Iterable[Block]) -> list[dict[str, Any]]:
    notes: list[dict[str, Any]] = []
    base = 0
    for block in blocks:
        if block.kind == "text":
            notes += [write_citation(each, base, len(block.text)) for each in block.citations]
            base += len(block.text)
    return notes


def _calls(blocks: Iterable[Block], answer: AnswerContext) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    carrier = SealCarrier()
    for block in blocks:
        if block.kind == "reasoning" and block.seal is not None:
            carrier.hold(block.seal, block.text)
        elif block.kind == "text":
            carrier.text_began()
        elif block.tool is not None:
            calls.append(_call(block, block.tool, answer, carrier.take()))
    return calls


def _call(block: Block, tool: ToolHead, answer: AnswerContext, seal: str) -> dict[str, Any]:
    name = f"{tool.ns}__{tool.name}" if tool.ns else tool.name
    head: dict[str, Any] = {"id": tool.id or answer.new_id("call_")}
    if tool.kind == "custom":
        head |= {"type": "custom", "custom": {"name": name, "input": block.text}}
    else:
        function = {"name": name, "arguments": block.text or "{}"}
        head |= {"type": "function", "function": function}
    if seal:
        head["extra_content"] = {"google": {"thought_signature": seal}}
    return head
