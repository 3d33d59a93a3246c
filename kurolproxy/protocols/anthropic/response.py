"""Whole Anthropic Messages answers, both ways."""

from __future__ import annotations

from typing import Any

from kurolproxy.ir import Block, Response, StreamEvent
from kurolproxy.protocols import wire
from kurolproxy.protocols.anthropic.answer import (
    citation,
    dump,
    seal_token,
    shows_reasoning,
    stop_fields,
    tool_id,
    tool_name,
)
from kurolproxy.protocols.anthropic.blocks_encode import tool_input
from kurolproxy.protocols.anthropic.stream_decode import Assembly
from kurolproxy.protocols.anthropic.usage import encode_usage
from kurolproxy.protocols.base import AnswerContext


def decode_response(body: Any, answer: AnswerContext) -> list[StreamEvent]:
    """Read a whole answer as the events it would have been; it never raises."""
    assembly = Assembly(answer.family)
    if not isinstance(body, dict):
        assembly.fail("the answer is no JSON object")
    elif body.get("type") == "error" or body.get("error"):
        assembly.event("error", {**body, "type": "error"})
    elif not isinstance(body.get("content"), list):
        assembly.fail("the answer is no message")
    else:
        _read(assembly, body)
    return assembly.take()


def _read(assembly: Assembly, body: dict[str, Any]) -> None:
    start = {"id": body.get("id"), "model": body.get("model")}
    assembly.event("message_start", {"message": start})
    for index, block in enumerate(body["content"]):
        assembly.event("content_block_start", {"index": index, "content_block": block})
        assembly.event("content_block_stop", {"index": index})
    assembly.event("message_delta", {"delta": body, "usage": body.get("usage")})
    assembly.event("message_stop", {})


def encode_response(response: Response, answer: AnswerContext) -> bytes:
    """Write a whole answer."""
    id_ = answer.new_id("msg_")
    content = [block for each in response.blocks if (block := _block(each, answer)) is not None]
    # As in a stream: an answer does not end with a proof of what nobody reads.
    while len(content) > 1 and content[-1].get("thinking") == "":
        content.pop()
    body = {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        **stop_fields(response.finish),
        "usage": encode_usage(response.usage),
    }
    return dump(body)


def _block(block: Block, answer: AnswerContext) -> dict[str, Any] | None:
    """Write one block; one that says nothing is left out."""
    if block.tool is not None:
        return {
            "type": "tool_use",
            "id": tool_id(block.tool, answer),
            "name": tool_name(block.tool),
            "input": _input(block.text, custom=block.tool.kind == "custom"),
        }
    if block.kind == "reasoning":
        return _thinking(block, answer)
    if not block.text and not block.citations:
        return None
    text: dict[str, Any] = {"type": "text", "text": block.text}
    if block.citations:
        text["citations"] = [citation(each) for each in block.citations]
    return text


def _input(args: str, *, custom: bool) -> Any:
    """Return a call's input; integers that no number of ours can hold travel as text."""
    given = tool_input(args, custom=custom)
    # Arguments that are no object stand in the input as a string, which loses nothing.
    exact = given.keys() != {"input"} or given["input"] != args
    if exact and wire.has_big_integer(args.encode("utf-8", "replace")):
        return wire.raw(args.strip())
    return given


def _thinking(block: Block, answer: AnswerContext) -> dict[str, Any] | None:
    shown = block.text if shows_reasoning(answer) else ""
    hidden = "" if shown else block.text
    if block.seal is None and not shown:
        return None
    signature = seal_token(block.seal, hidden) if block.seal is not None else ""
    return {"type": "thinking", "thinking": shown, "signature": signature}
