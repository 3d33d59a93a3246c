"""The settings of Claude Code."""

from __future__ import annotations

from typing import Final

from kurolproxy.connect.quoting import pretty
from kurolproxy.connect.shells import exports, shell_step, variable
from kurolproxy.connect.wanted import Step, Wanted

# Smaller windows than this are raised to it, with a warning.
_LEAST_COMPACT_WINDOW: Final = 100_000


def claude_code(wanted: Wanted) -> list[Step]:
    """Return what Claude Code needs: a settings file, and the key in the environment."""
    file = Step(
        "Write the settings",
        "~/.claude/settings.json",
        "json",
        pretty({"env": _environment(wanted)}),
        "Add the entries to the file when you have one already. Background calls, too, go to"
        " the models named here. The URL has no /v1.",
    )
    start = shell_step(wanted, "Start it", "claude")
    if wanted.key is not None:
        return [file, start]
    token = exports(wanted.shell, {"ANTHROPIC_AUTH_TOKEN": variable(wanted.shell)})
    return [file, shell_step(wanted, "Hand over your key", token), start]


def _environment(wanted: Wanted) -> dict[str, str]:
    model, small = wanted.model, wanted.small
    found = {
        "ANTHROPIC_BASE_URL": wanted.base_url,
        "ANTHROPIC_MODEL": model.id,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": model.id,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": model.id,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": small.id,
    }
    if wanted.key is not None:
        found["ANTHROPIC_AUTH_TOKEN"] = wanted.key
    if model.context_window is not None:
        # It takes the window of a name that it does not know for a million tokens, and
        # heeds this variable for such names only.
        found["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = str(model.context_window)
        if model.context_window >= _LEAST_COMPACT_WINDOW:
            found["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] = str(model.context_window)
    if model.max_output_tokens is not None:
        found["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(model.max_output_tokens)
    # What it asks of its vendor beside the model.
    found["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"
    return found
