"""Whole Responses answers, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kurolproxy.ir import (
    Block,
    BlockEnd,
    BlockStart,
    Cited,
    Delta,
    Failure,
    Output,
    Request,
    Response,
    Sealed,
    StreamEvent,
)
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.openai_responses.answer import (
    INCOMPLETE,
    choice,
    shows_reasoning,
)
from kurolproxy.protocols.openai_responses.assembly import Assembly
from kurolproxy.protocols.openai_responses.error import read_failure
from kurolproxy.protocols.openai_responses.usage import write_usage
from kurolproxy.protocols.openai_responses.vocabulary import RESPONSE_ID
from kurolproxy.protocols.openai_responses.writer import ItemWriter

NO_ANSWER = "the upstream's answer is no response"
UNFINISHED = "the upstream did not finish the answer"
_UNFINISHED = ("queued", "in_progress")

# --- decode ---------------------------------------------------------------------------------


def decode_response(value: Any, answer: AnswerContext) -> list[StreamEvent]:
    """Read a whole answer as the events it would have been; it never raises."""
    assembly = Assembly(answer)
    failure = broken(value)
    if failure is not None:
        assembly.fail(failure)
    else:
        assembly.event("response.completed", {"response": value})
    return assembly.take()


def broken(value: Any) -> Failure | None:
    """Return why a document is no whole answer; None when it is one, or one that failed."""
    if not isinstance(value, dict):
        return Failure(NO_ANSWER)
    if value.get("type") == "error" or (value.get("error") and "output" not in value):
        return read_failure(value)
    if value.get("status") in _UNFINISHED:
        return Failure(UNFINISHED)
    if value.get("status") != "failed" and not isinstance(value.get("output"), list):
        return Failure(NO_ANSWER)
    return None


# --- encode ---------------------------------------------------------------------------------


def encode_response(response: Response, answer: AnswerContext) -> bytes:
    """Write a whole answer, its items as the events of a stream would tell them."""
    id_ = answer.new_id(RESPONSE_ID)
    items = _items(response, answer)
    reason = INCOMPLETE.get(response.finish.reason)
    body = {
        "id": id_,
        "object": "response",
        "created_at": answer.created,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason.decode()} if reason else None,
        **_asked(answer),
        "output": wire.raw((b"[%b]" % b",".join(items)).decode()),
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
        "usage": wire.raw(write_usage(response.usage).decode()),
        "user": None,
        "metadata": {},
    }
    if not reason:
        # The only clock that a codec has.
        body["completed_at"] = answer.created
    return wire.dumps(body)


def _items(response: Response, answer: AnswerContext) -> list[bytes]:
    writer = ItemWriter(answer)
    for event in _events(response):
        match event:
            case BlockStart():
                writer.start(event)
            case Delta(text=text):
                writer.delta(text)
            case Sealed(seal=seal):
                writer.sealed(seal)
            case Cited(citation=citation):
                writer.cited(citation)
            case _:
                writer.end()
    writer.finish(response.finish)
    return writer.items


def _events(response: Response) -> Iterator[StreamEvent]:
    for index, block in enumerate(response.blocks):
        yield BlockStart(index, block.kind, block.tool)
        yield from _inside(index, block)
        yield BlockEnd(index)


def _inside(index: int, block: Block) -> Iterator[StreamEvent]:
    # A proof of a text or a call stands before it.
    if block.seal is not None:
        yield Sealed(index, block.seal)
    if block.text:
        yield Delta(index, block.text)
    for citation in block.citations:
        yield Cited(index, citation)


def _asked(answer: AnswerContext) -> dict[str, Any]:
    """Write what the response repeats of the request."""
    request = answer.request
    wish = request.reasoning
    return {
        "instructions": None,
        "max_output_tokens": request.max_tokens,
        "model": answer.model,
        "parallel_tool_calls": request.parallel_tools is not False,
        "reasoning": {
            "effort": wish.effort if wish is not None else None,
            "summary": "auto" if shows_reasoning(answer) else None,
        },
        "temperature": request.temperature,
        "text": _text(request),
        "tool_choice": choice(request),
        "tools": [],
        "top_p": request.top_p,
    }


def _text(request: Request) -> dict[str, Any]:
    text: dict[str, Any] = {"format": _format(request.output)}
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    return text


def _format(output: Output | None) -> dict[str, Any]:
    if output is None:
        return {"type": "text"}
    if output.kind == "json_object":
        return {"type": "json_object"}
    form: dict[str, Any] = {
        "type": "json_schema",
        "name": output.name or "response",
        "schema": dict(output.schema or {}),
        "strict": output.strict,
    }
    if output.description is not None:
        form["description"] = output.description
    return form
