"""The estimate of every prompt beside what a tokenizer counts, and how the two are spread."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

import toktok

from kurolproxy.ir import ProtocolName
from kurolproxy.policy.estimate import body_tokens, completion_tokens, prompt_tokens
from kurolproxy.protocols.registry import CODECS
from tests.policy.estimate_prompts import KIND_TOKENS, VOCABULARY, Prompt, kind_text, prompts

VOCABULARIES = (VOCABULARY, "cl100k_base", "qwen3.5")
LEAST, MOST = 1.0, 2.5


class Measured(NamedTuple):
    """One prompt.

    Attributes:
        actual: tokens by each of ``VOCABULARIES``.
        body: the estimate from the bytes alone.
        decoded: the estimate of the decoded request.
    """

    kind: str
    protocol: ProtocolName
    actual: tuple[int, ...]
    body: int
    decoded: int

    def of_body(self, vocabulary: int = 0) -> float:
        """Return the first estimate by the tokens of a vocabulary."""
        return self.body / self.actual[vocabulary]

    def of_decoded(self, vocabulary: int = 0) -> float:
        """Return the second estimate by the tokens of a vocabulary."""
        return self.decoded / self.actual[vocabulary]


class Spread(NamedTuple):
    """How ratios are spread."""

    least: float
    tenth: float
    median: float
    ninetieth: float
    most: float
    promised: float

    @classmethod
    def of(cls, ratios: Iterable[float]) -> Spread:
        """Return the spread of some ratios; ``promised`` is the share within the bounds."""
        found = sorted(ratios)
        last = len(found) - 1
        at = [found[round(last * share)] for share in (0, 0.1, 0.5, 0.9, 1)]
        kept = sum(LEAST <= ratio <= MOST for ratio in found)
        return cls(*at, promised=kept / len(found))


@cache
def measured() -> tuple[Measured, ...]:
    """Return every prompt with its figures; it takes some seconds, once."""
    return tuple(map(_measure, prompts()))


def _measure(prompt: Prompt) -> Measured:
    body = prompt.body()
    request = CODECS[prompt.protocol].decode_request(json.loads(body))
    actual = tuple(map(prompt.session.tokens, VOCABULARIES))
    return Measured(prompt.kind, prompt.protocol, actual, body_tokens(body), prompt_tokens(request))


def outside(ratio: Callable[[Measured], float]) -> list[tuple[str, str, float]]:
    """Return the prompts outside the bounds, for the words of a failure."""
    return [
        (each.kind, each.protocol, round(ratio(each), 2))
        for each in measured()
        if not LEAST <= ratio(each) <= MOST
    ]


@cache
def alone(kind: str) -> tuple[float, ...]:
    """Return the estimate of a text by itself by its tokens in each of ``VOCABULARIES``."""
    text = kind_text(kind, random.Random(kind), KIND_TOKENS)
    estimated = completion_tokens(len(text.encode()))
    return tuple(estimated / toktok.batch_count([text], each)[0] for each in VOCABULARIES)
