"""The settings of Codex, with the catalogue that tells it about the model."""

from __future__ import annotations

from typing import Any, Final

from kurolproxy.connect.quoting import pretty, toml
from kurolproxy.connect.shells import exports, key_word, shell_step
from kurolproxy.connect.wanted import KEY_VARIABLE, ModelFacts, Step, Wanted

_CATALOGUE: Final = "kurol-models.json"
_PROVIDER: Final = "kurol"
# Codex keeps this much of what a command printed.
_KEPT_TOKENS: Final = 10_000
_EFFORTS: Final = (
    ("low", "Quick, with little reasoning"),
    ("medium", "Balanced"),
    ("high", "Thorough, for hard problems"),
)
# Its catalogue wants the text that a session begins with; the one inside Codex is for the
# models that it knows.
_INSTRUCTIONS: Final = """\
You are a coding agent. You run in the Codex CLI, in a terminal on the user's computer, and you \
work with the user on the code in the current folder.

# How you work
- Keep going until the request is done, and check the result before you say so. Ask only when \
you cannot find out yourself.
- Look before you change: read the files that matter, and find with `rg` and `rg --files` what \
you do not know.
- Mend the cause and not the symptom, with the smallest change that does it, in the style of \
the code around it. Leave alone what has nothing to do with the request.
- Run the tests or the program when there is a way to do so; say plainly what you did not check.
- You may not be alone: never undo changes that you did not make, and no destructive command \
(`git reset --hard`, `rm -rf`) unless the user asked for it. Commit only when asked to.
- Files named AGENTS.md hold instructions for the folder that they stand in and all below it; \
the deeper one wins, and the user's own words win over all of them.

# Your tools
- Commands run in a shell: give the working folder, and prefer several small commands to a \
long one. Read files in pieces that fit.
- Create and change files with the tool for that when you have one, otherwise by a command.
- A command that is refused, or that the sandbox blocks, is explained to the user: never worked \
around.

# Your answer
Be short and concrete. Say what you did and where (`path/to/file:line`), what you found, and what \
is left. No copies of whole files that you wrote.\
"""


def codex(wanted: Wanted) -> list[Step]:
    """Return what Codex needs: a provider, the model's catalogue, the key."""
    steps = [
        Step(
            "Write the configuration",
            "~/.codex/config.toml",
            "toml",
            _config(wanted),
            "The first lines stand above all [tables] of the file. Codex speaks Responses with"
            " the gateway.",
        ),
        Step(
            "Tell it about the models",
            f"~/.codex/{_CATALOGUE}",
            "json",
            _catalogue(wanted),
            "Codex knows OpenAI's models only. This file gives it the context window of yours, and"
            " the text that a session begins with. For a model that goes by OpenAI's own name,"
            " leave out the file and model_catalog_json: Codex knows more of it.",
        ),
    ]
    if wanted.key is not None:
        key = exports(wanted.shell, {KEY_VARIABLE: key_word(wanted)})
        note = "Codex reads the key from this variable: it has to be set wherever you start it."
        steps.append(shell_step(wanted, "Hand over your key", key, note))
    return [*steps, shell_step(wanted, "Start it", "codex")]


def _config(wanted: Wanted) -> str:
    lines = [
        f"model = {toml(wanted.model.id)}",
        f"model_provider = {toml(_PROVIDER)}",
        f"model_catalog_json = {toml(_CATALOGUE)}",
        # The vendor's own search: other models have none.
        'web_search = "disabled"',
        "",
        f"[model_providers.{_PROVIDER}]",
        'name = "Kurol Proxy"',
        f"base_url = {toml(wanted.v1)}",
        f"env_key = {toml(KEY_VARIABLE)}",
        'wire_api = "responses"',
    ]
    return "\n".join(lines)


def _catalogue(wanted: Wanted) -> str:
    models = {each.id: each for each in (wanted.model, wanted.small)}
    return pretty({"models": [_entry(each, i) for i, each in enumerate(models.values(), 1)]})


def _entry(model: ModelFacts, priority: int) -> dict[str, Any]:
    efforts = _EFFORTS if model.thinks else ()
    entry: dict[str, Any] = {
        "slug": model.id,
        "display_name": model.id,
        "description": "A model of Kurol Proxy",
        "supported_reasoning_levels": [
            {"effort": effort, "description": description} for effort, description in efforts
        ],
        "shell_type": "unified_exec",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "support_verbosity": False,
        "truncation_policy": {"mode": "tokens", "limit": _KEPT_TOKENS},
        "experimental_supported_tools": [],
        "input_modalities": ["text", "image"] if model.sees else ["text"],
        "base_instructions": _INSTRUCTIONS,
    }
    if efforts:
        entry["default_reasoning_level"] = "medium"
    if model.context_window is not None:
        entry["context_window"] = model.context_window
    return entry
