"""The settings of the agents inside editors: Cline, Roo Code, Kilo."""

from __future__ import annotations

from typing import Any, Final

from kurolproxy.connect.quoting import HELD, jsonc, line, pretty
from kurolproxy.connect.shells import command, key_word, shell_step, word
from kurolproxy.connect.wanted import KEY_VARIABLE, ModelFacts, Step, Wanted

_PROVIDER: Final = "kurol"
_NAME: Final = "Kurol Proxy"
_PLACEHOLDER: Final = f"${KEY_VARIABLE}"
# Kilo asks for 32,000 tokens of output where nobody says otherwise.
_KILO_OUTPUT: Final = 32_000


def cline(wanted: Wanted) -> list[Step]:
    """Return what Cline needs, in an editor and in a terminal."""
    address, model = word(wanted.shell, wanted.v1), word(wanted.shell, wanted.model.id)
    options = ("auth", "-p", "openai", "-b", address, "-k", key_word(wanted), "-m", model)
    task = word(wanted.shell, "Say hello.")
    return [
        Step(
            "In the editor",
            "Cline > Settings > API Configuration",
            "settings",
            _fields(wanted),
            _key_note(wanted),
        ),
        shell_step(wanted, "Or in a terminal", command(wanted.shell, "cline", *options)),
        shell_step(
            wanted,
            "Start it in a terminal",
            command(wanted.shell, "cline", "-P", "openai", "-m", model, task),
        ),
    ]


def roo_code(wanted: Wanted) -> list[Step]:
    """Return what Roo Code needs: fields, or a file to import."""
    return [
        Step(
            "In the editor",
            "Roo Code > Settings > Providers",
            "settings",
            _fields(wanted),
            _key_note(wanted),
        ),
        Step(
            "Or import this file",
            "roo-code-settings.json",
            "json",
            pretty(_roo_profiles(wanted)),
            "Roo Code > Settings > About Roo Code > Import. " + _key_note(wanted),
        ),
    ]


def kilo(wanted: Wanted) -> list[Step]:
    """Return what Kilo needs: one file, for the editor and for the terminal."""
    return [
        Step(
            "Write the settings",
            "~/.config/kilo/kilo.jsonc",
            "jsonc",
            _kilo_file(wanted),
            "The extension and the command line read the same file. Add the entries when you"
            " have one already.",
        ),
        shell_step(wanted, "Start it in a terminal", "kilo"),
    ]


def _key_note(wanted: Wanted) -> str:
    if wanted.key is not None:
        return ""
    return f"Put your key in place of ${KEY_VARIABLE}: no variables are read here."


def _fields(wanted: Wanted) -> str:
    """Return what is typed into a form of settings, a line for each field."""
    model = wanted.model
    fields: dict[str, object] = {
        "API Provider": "OpenAI Compatible",
        "Base URL": line(wanted.v1),
        "API Key": line(wanted.key or _PLACEHOLDER),
        "Model": line(model.id),
        "Context Window Size": model.context_window,
        "Max Output Tokens": model.max_output_tokens,
        "Image Support": "on" if model.sees else "off",
        "Streaming": "on",
    }
    return "\n".join(f"{name}: {value}" for name, value in fields.items() if value is not None)


def _roo_profiles(wanted: Wanted) -> dict[str, Any]:
    profile = {
        "apiProvider": "openai",
        "openAiBaseUrl": wanted.v1,
        "openAiApiKey": wanted.key or _PLACEHOLDER,
        "openAiModelId": wanted.model.id,
        "openAiStreamingEnabled": True,
        "openAiCustomModelInfo": _roo_model(wanted.model),
    }
    return {
        "providerProfiles": {
            "currentApiConfigName": _PROVIDER,
            "apiConfigs": {_PROVIDER: {**profile, "id": _PROVIDER}},
        },
        "globalSettings": {},
    }


def _roo_model(model: ModelFacts) -> dict[str, Any]:
    found: dict[str, Any] = {
        "supportsImages": model.sees,
        "supportsPromptCache": False,
    }
    # Its import wants a window; this is what it assumes itself.
    found["contextWindow"] = model.context_window or 128_000
    # -1: the upstream's own limit.
    found["maxTokens"] = model.max_output_tokens or -1
    return found


def _kilo_file(wanted: Wanted) -> str:
    models = {each.id: _kilo_model(each) for each in (wanted.model, wanted.small)}
    value = {
        "provider": {
            _PROVIDER: {
                "npm": "@ai-sdk/openai-compatible",
                "name": _NAME,
                "options": {"baseURL": wanted.v1, "apiKey": wanted.key or HELD},
                "models": models,
            }
        },
        "model": f"{_PROVIDER}/{wanted.model.id}",
        "small_model": f"{_PROVIDER}/{wanted.small.id}",
    }
    return jsonc(value, variable=KEY_VARIABLE)


def _kilo_model(model: ModelFacts) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": model.id,
        "tool_call": True,
        "attachment": model.sees,
        "reasoning": model.thinks,
    }
    if model.context_window is not None:
        output = model.max_output_tokens or min(_KILO_OUTPUT, model.context_window)
        found["limit"] = {"context": model.context_window, "output": output}
    return found
