"""What the tests of all protocols share about real traffic, replayed in place."""

from __future__ import annotations

import json

from kurolproxy.ir import BlockKind, Response
from kurolproxy.protocols.base import Codec
from kurolproxy.tokens import Usage
from tests.fakes.recordings import Call, Recording, expected, normal_json


def text_of(answer: Response, kind: BlockKind) -> str:
    """Return all text of one kind."""
    return "".join(block.text for block in answer.blocks if block.kind == kind)


def proofs_of(answer: Response) -> tuple[str, ...]:
    """Return the proofs of the seals."""
    return tuple(each.seal.proof for each in answer.blocks if each.seal)


def usage_of(recorded: Recording) -> Usage | None:
    """Return the usage that the recordings' reader saw."""
    seen = expected(recorded).usage
    return None if seen is None else Usage(*seen)


def check_said(answer: Response, recorded: Recording) -> None:
    """Assert that an answer has the words, thoughts and calls of the recording."""
    seen = expected(recorded)
    assert text_of(answer, "text") == seen.text
    assert text_of(answer, "reasoning") == seen.reasoning
    calls = [Call(each.tool.name, normal_json(each.text)) for each in answer.blocks if each.tool]
    assert tuple(calls) == seen.calls


def check_passed_answer(codec: Codec, recorded: Recording) -> None:
    """Assert that a whole answer is handed on with another model and nothing else changed."""
    body = json.loads(recorded.response)
    same = codec.passed_answer(recorded.response, body["model"])
    assert same.body is recorded.response
    assert same.failure is None
    other = codec.passed_answer(recorded.response, "mine")
    assert json.loads(other.body) == {**body, "model": "mine"}
    assert len(other.body) - len(recorded.response) == len("mine") - len(body["model"])
    assert same.usage is not None
    assert same.usage == other.usage == usage_of(recorded)


def words_written(recorded: Recording) -> int:
    """Return how many bytes of text and reasoning an answer has."""
    seen = expected(recorded)
    return len((seen.text + seen.reasoning).encode())


def estimate_of_silent(codec: Codec, recorded: Recording) -> int:
    """Return the bytes counted of a whole answer: one that tells no usage is weighed."""
    silent = json.dumps({**json.loads(recorded.response), "usage": None}).encode()
    return codec.passed_answer(silent, "mine").emitted_bytes
