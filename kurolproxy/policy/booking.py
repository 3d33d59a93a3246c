"""What is booked of one call: the upstream's figures, and the estimate where it gave none."""

from __future__ import annotations

from kurolproxy.policy.estimate import completion_tokens
from kurolproxy.tokens import MAX_TOKENS_COUNTED, Usage

_SILENT = Usage()


def booked(
    told: Usage | None, *, prompt_estimate: int, emitted_bytes: int, whole: bool
) -> tuple[Usage, bool]:
    """Return the usage of a call that something is owed for, and whether any was estimated.

    A half that the upstream told is kept, the other one estimated. Of an answer that broke
    off the last word was not the end: its text counts when that is more.

    Args:
        told: by the upstream; None when it said nothing.
        prompt_estimate: tokens.
        emitted_bytes: of text, reasoning and arguments; asked for only where the usage does
            not tell the completion, or the answer is not whole.
        whole: the answer came to its end.
    """
    seen = told or _SILENT
    if whole and seen.prompt and seen.completion:
        return seen, False
    weighed = completion_tokens(emitted_bytes)
    prompt = seen.prompt or min(prompt_estimate, MAX_TOKENS_COUNTED)
    said = seen.completion
    completion = min((said or weighed) if whole else max(said, weighed), MAX_TOKENS_COUNTED)
    read = min(seen.cache_read, prompt)
    usage = Usage(
        prompt=prompt,
        completion=completion,
        cache_read=read,
        cache_write=min(seen.cache_write, prompt - read),
        reasoning=min(seen.reasoning, completion),
        clamped=seen.clamped,
    )
    return usage, not whole or usage != seen
