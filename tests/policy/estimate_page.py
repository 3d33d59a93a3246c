"""The figures of docs/estimate.md: written by a run of the tests, read back as the standard.

``python -m tests.policy.estimate_page`` prints them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from kurolproxy.ir import ProtocolName
from kurolproxy.policy.estimate import body_tokens, completion_tokens, prompt_tokens
from tests.policy import estimate_recorded as recorded
from tests.policy.estimate_measured import VOCABULARIES, Measured, Spread, alone, measured
from tests.policy.estimate_prompts import WRITERS
from tests.policy.estimate_recorded import PASSED_ONLY, SMALLEST_ANSWER, SMALLEST_CALL
from tests.policy.estimate_texts import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "estimate.md"

_TITLES: Mapping[ProtocolName, str] = {
    "openai-chat": "Chat Completions",
    "openai-responses": "Responses",
    "anthropic": "Messages",
    "gemini": "Gemini",
}
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?: %)?")
_BLOCK = "<!-- measured: {} -->\n(.*?)<!-- end -->"


# --- tables -----------------------------------------------------------------------------


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(_cell, cells))} |\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _head(*names: str) -> str:
    return _row(*names) + "|" + "---|" * len(names) + "\n"


def _share(value: float) -> str:
    return f"{value * 100:.0f} %"


def _spread(name: str, ratio: Callable[[Measured], float], prompts: Sequence[Measured]) -> str:
    found = Spread.of(map(ratio, prompts))
    return _row(name, len(prompts), *found[:-1], _share(found.promised))


_SPREAD = ("prompts", "least", "p10", "median", "p90", "most", "within 1.0-2.5")


def by_protocol() -> Iterator[str]:
    """Yield how the estimates are spread, for each protocol and all of them."""
    for about, ratio in (("bytes", Measured.of_body), ("decoded request", Measured.of_decoded)):
        yield _head(f"by the {about}", *_SPREAD)
        for protocol in WRITERS:
            own = [each for each in measured() if each.protocol == protocol]
            yield _spread(_TITLES[protocol], ratio, own)
        yield _spread("all", ratio, measured())
        yield "\n"


def by_vocabulary() -> Iterator[str]:
    """Yield how the estimates from bytes are spread by other tokenizers' figures."""
    yield _head("vocabulary", *_SPREAD)
    for at, name in enumerate(VOCABULARIES):
        yield _spread(name, lambda each, at=at: each.of_body(at), measured())  # type: ignore[misc]


def by_kind() -> Iterator[str]:
    """Yield the estimates for each kind of text, in a prompt and alone."""
    yield _head("kind", "bytes", "decoded", *(f"alone: {name}" for name in VOCABULARIES))
    for kind in dict.fromkeys(each.kind for each in measured()):
        own = [each for each in measured() if each.kind == kind]
        by_itself = alone(kind) if kind in KINDS else ("-",) * len(VOCABULARIES)
        yield _row(kind, _range(map(Measured.of_body, own)), _range(map(Measured.of_decoded, own)),
                   *by_itself)  # fmt: skip


def _range(ratios: Iterable[float]) -> str:
    found = sorted(ratios)
    return f"{found[0]:.2f} - {median(found):.2f} - {found[-1]:.2f}"


def of_recorded_prompts() -> Iterator[str]:
    """Yield the estimates of recorded prompts."""
    yield _head("protocol", "prompts", "tokens", "by bytes", "decoded")
    prompts = recorded.prompts()
    for protocol in dict.fromkeys(each.seen.protocol for each in prompts):
        own = [each for each in prompts if each.seen.protocol == protocol]
        decoded = [each for each in own if each.seen.stem not in PASSED_ONLY]
        tokens = sorted(each.actual for each in own)
        yield _row(
            protocol,
            len(own),
            f"{tokens[0]:,} to {tokens[-1]:,}",
            _range(body_tokens(each.body) / each.actual for each in own),
            _range(prompt_tokens(each.decoded()) / each.actual for each in decoded),
        )


def of_recorded_answers() -> Iterator[str]:
    """Yield the estimates of recorded answers."""
    yield _head("answers", "recorded", "tokens", "estimate / actual")
    words = [each for each in recorded.answers(SMALLEST_ANSWER) if not each.calls]
    calls = [each for each in recorded.answers(SMALLEST_CALL) if each.calls]
    for name, own in (("words", words), ("with calls of tools", calls)):
        tokens = sorted(each.actual for each in own)
        ratios = (completion_tokens(each.emitted) / each.actual for each in own)
        yield _row(name, len(own), f"{tokens[0]:,} to {tokens[-1]:,}", _range(ratios))


def _tables(*tables: Callable[[], Iterator[str]]) -> Callable[[], str]:
    return lambda: "\n" + "\n".join("".join(table()).rstrip("\n") + "\n" for table in tables) + "\n"


BLOCKS: Mapping[str, Callable[[], str]] = {
    "protocols": _tables(by_protocol),
    "kinds": _tables(by_kind),
    "vocabularies": _tables(by_vocabulary),
    "recorded prompts": _tables(of_recorded_prompts),
    "recorded answers": _tables(of_recorded_answers),
}
"""What stands between two marks of the page, by the name in the first."""


# --- the page ---------------------------------------------------------------------------


def committed(block: str) -> str:
    """Return what the page has between two marks."""
    found = re.search(_BLOCK.format(block), PAGE.read_text(), re.DOTALL)
    assert found is not None, f"{PAGE.name} has no block {block}"
    return found[1]


def write(block: str, text: str) -> None:
    """Replace what the page has between two marks."""
    page, old = PAGE.read_text(), committed(block)
    mark = _BLOCK.format(block).partition("(")[0]
    PAGE.write_text(page.replace(f"{mark}{old}", f"{mark}{text}"))


def differences(one: str, other: str) -> list[tuple[str, str]]:
    """Return the lines of two blocks that do not say the same.

    The texts of the prompts are a little other ones with each release of Python: ratios may
    differ by 0.2 and shares by three in a hundred; words and counts may not.
    """
    ours, theirs = one.splitlines(), other.splitlines()
    if len(ours) != len(theirs):
        return [(one, other)]
    return [pair for pair in zip(ours, theirs, strict=True) if not _alike(*pair)]


def _alike(one: str, other: str) -> bool:
    if _NUMBER.sub("0", one) != _NUMBER.sub("0", other):
        return False
    numbers = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(_near(*pair) for pair in numbers)


def _near(one: str, other: str) -> bool:
    allowed = 0.2 if "." in one else 3 if one.endswith("%") else 0
    values = [float(each.rstrip(" %").replace(",", "")) for each in (one, other)]
    return abs(values[0] - values[1]) <= allowed + 1e-9


if __name__ == "__main__":
    print("".join(make() for make in BLOCKS.values()))
