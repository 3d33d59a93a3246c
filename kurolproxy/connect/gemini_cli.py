"""The settings of Gemini CLI."""

from __future__ import annotations

from typing import Any, Final

from kurolproxy.connect.quoting import pretty
from kurolproxy.connect.shells import exports, key_word, shell_step, word
from kurolproxy.connect.wanted import Step, Wanted

# What it asks of a model of Google's own choice unless told otherwise: its names for the
# calls behind the conversation.
_BACKGROUND: Final = (
    "classifier",
    "prompt-completion",
    "fast-ack-helper",
    "edit-corrector",
    "summarizer-default",
    "summarizer-shell",
    "web-search",
    "web-fetch",
    "web-fetch-fallback",
    "loop-detection",
    "loop-detection-double-check",
    "llm-edit-fixer",
    "next-speaker-checker",
    "context-snapshotter",
    "chat-compression-default",
    "agent-history-provider-summarizer",
)
# It takes every window for this one, and compresses a conversation that fills half of it.
_ASSUMED_WINDOW: Final = 1_048_576
_FILLED: Final = 0.5


def gemini_cli(wanted: Wanted) -> list[Step]:
    """Return what Gemini CLI needs: a settings file, the address and the key."""
    file = Step(
        "Write the settings",
        "~/.gemini/settings.json",
        "json",
        pretty(_settings(wanted)),
        "Add the entries to the file when you have one already. The overrides keep the calls"
        " behind the conversation within your plan.",
    )
    variables = {
        "GOOGLE_GEMINI_BASE_URL": word(wanted.shell, wanted.base_url),
        "GEMINI_API_KEY": key_word(wanted),
    }
    address = shell_step(
        wanted,
        "Hand over address and key",
        exports(wanted.shell, variables),
        "They have to be set wherever you start it.",
    )
    return [file, address, shell_step(wanted, "Start it", "gemini")]


def _settings(wanted: Wanted) -> dict[str, Any]:
    small = wanted.small.id
    model: dict[str, Any] = {"name": wanted.model.id}
    window = wanted.model.context_window
    if window is not None and window < _ASSUMED_WINDOW:
        model["compressionThreshold"] = round(_FILLED * window / _ASSUMED_WINDOW, 5)
    overrides = [
        {"match": {"model": each}, "modelConfig": {"model": small}} for each in _BACKGROUND
    ]
    return {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "model": model,
        "modelConfigs": {"customOverrides": overrides},
    }
