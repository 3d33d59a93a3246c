"""Nothing that a text holds breaks out of the literal that it stands in."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kurolproxy.connect import quoting
from kurolproxy.connect.tools import TOOLS
from kurolproxy.connect.wanted import ModelFacts, Shell, Step, Wanted

NASTY = st.text(
    st.one_of(
        st.sampled_from(
            "'\"$`\\\n\r\t{}()<>%#!&|;@,/ \u2018\u2019\u201a\u201b\u2028\u202e\x7f\x9b\x1bé😀"
        ),
        st.characters(exclude_categories=("Cs",), exclude_characters="\0"),
    ),
    min_size=1,
    max_size=30,
)
PIECES = st.one_of(NASTY, st.sampled_from(["{env:HOME}", "{file:/etc/hosts}", "$(id)", "<<key>>"]))
TEXTS = st.lists(PIECES, min_size=1, max_size=3).map("".join)


@st.composite
def wanteds(draw: st.DrawFn, shell: Shell = "bash") -> Wanted:
    """Return settings with names that somebody chose in bad faith."""
    return Wanted(
        "http://" + draw(TEXTS),
        ModelFacts(draw(TEXTS), 131_072, 16_384),
        ModelFacts(draw(TEXTS)),
        draw(st.one_of(st.none(), TEXTS)),
        shell,
    )


def steps_of(tool: str, wanted: Wanted) -> dict[str, Step]:
    return {step.where: step for step in TOOLS[tool].steps(wanted)}


def key_of(wanted: Wanted, variable: str) -> str:
    return variable if wanted.key is None else wanted.key


# --- shells -----------------------------------------------------------------------------


def run_by_bash(text: str, *programs: str) -> list[list[str]]:
    """Run commands in bash with programs that only tell their arguments."""
    tell = "".join(
        f"{each}() {{ printf '%s\\0' {each} \"$@\"; printf '\\0'; }}\n" for each in programs
    )
    told = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-c", tell + text],
        capture_output=True,
        check=True,
        env={"KUROL_API_KEY": "sk-of the environment", "PATH": ""},
        timeout=20,
    )
    assert told.stderr == b""
    words = told.stdout.decode().split("\0")[:-1]
    groups = itertools.groupby(words, key=lambda word: words and word == "")
    return [list(group) for empty, group in groups if not empty]


@settings(max_examples=40)
@given(wanteds())
def test_bash_hands_a_program_what_was_meant(wanted: Wanted) -> None:
    key = key_of(wanted, "sk-of the environment")
    for step in TOOLS["curl"].steps(wanted):
        [[program, *words]] = run_by_bash(step.text, "curl")
        body = json.loads(words[words.index("-d") + 1])
        headers = [value for name, value in itertools.pairwise(words) if name == "-H"]
        assert program == "curl"
        assert words[2].startswith(wanted.base_url + "/v1")
        assert headers[0].partition(": ")[2].removeprefix("Bearer ") == key
        assert body.get("model", wanted.model.id) == wanted.model.id
        assert len(words) == 5 + 2 * len(headers)
    signing_in, task = (step for step in TOOLS["cline"].steps(wanted) if step.where == "shell")
    assert run_by_bash(signing_in.text, "cline") == [
        ["cline", "auth", "-p", "openai", "-b", wanted.v1, "-k", key, "-m", wanted.model.id]
    ]
    [[*_, model, _]] = run_by_bash(task.text, "cline")
    assert model == wanted.model.id


@given(TEXTS)
def test_a_word_of_bash_stays_on_its_line_and_moves_no_cursor(text: str) -> None:
    assert quoting.sh(text).isprintable()


def powershell_strings(text: str) -> Iterator[str]:
    """Yield the strings in single quotes, as PowerShell's tokenizer reads them.

    Source: https://learn.microsoft.com/powershell/scripting/lang-spec/chapter-02, 2.3.5.2:
    five characters are single quotes there, and a doubled one is itself.
    """
    quotes = "'\u2018\u2019\u201a\u201b"
    at = 0
    while at < len(text):
        if text[at] not in quotes:
            at += 1
            continue
        found = ""
        at += 1
        while True:
            if text[at] not in quotes:
                found += text[at]
                at += 1
            elif at + 1 < len(text) and text[at + 1] in quotes:
                found += text[at]
                at += 2
            else:
                at += 1
                break
        yield found


@given(wanteds("powershell"))
def test_powershell_reads_what_was_meant(wanted: Wanted) -> None:
    for step in TOOLS["curl"].steps(wanted):
        *headers, body, url, kind = powershell_strings(step.text)
        assert json.loads(body).get("model", wanted.model.id) == wanted.model.id
        assert url.startswith(wanted.base_url + "/v1")
        assert kind == "application/json"
        assert len(headers) == (2 if wanted.key else 1) + 2 * ("anthropic-version" in headers)
        assert wanted.key is None or headers[1].removeprefix("Bearer ") == wanted.key
    first = TOOLS["gemini-cli"].steps(wanted)[1]
    assert next(powershell_strings(first.text)) == wanted.base_url


# --- files --------------------------------------------------------------------------------


@given(wanteds())
def test_toml_and_json_say_what_was_meant(wanted: Wanted) -> None:
    files = steps_of("codex", wanted)
    config = tomllib.loads(files["~/.codex/config.toml"].text)
    assert config["model"] == wanted.model.id
    assert config["model_providers"]["kurol"]["base_url"] == wanted.v1
    assert set(config) == {
        "model", "model_provider", "model_catalog_json", "web_search", "model_providers",
    }  # fmt: skip
    catalogue = json.loads(files["~/.codex/kurol-models.json"].text)
    slugs = [each["slug"] for each in catalogue["models"]]
    assert slugs == list(dict.fromkeys([wanted.model.id, wanted.small.id]))

    environment = json.loads(steps_of("claude-code", wanted)["~/.claude/settings.json"].text)["env"]
    assert environment["ANTHROPIC_BASE_URL"] == wanted.base_url
    assert environment["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == wanted.small.id
    assert environment.get("ANTHROPIC_AUTH_TOKEN") == wanted.key

    roo = json.loads(steps_of("roo-code", wanted)["roo-code-settings.json"].text)
    profile = roo["providerProfiles"]["apiConfigs"]["kurol"]
    assert profile["openAiModelId"] == wanted.model.id
    assert profile["openAiApiKey"] == key_of(wanted, "$KUROL_API_KEY")

    gemini = json.loads(steps_of("gemini-cli", wanted)["~/.gemini/settings.json"].text)
    overrides = gemini["modelConfigs"]["customOverrides"]
    assert {each["modelConfig"]["model"] for each in overrides} == {wanted.small.id}


@given(wanteds())
def test_kilo_finds_one_reference_at_most_the_one_to_the_key(wanted: Wanted) -> None:
    text = steps_of("kilo", wanted)["~/.config/kilo/kilo.jsonc"].text
    value: dict[str, Any] = json.loads(text)
    provider = value["provider"]["kurol"]
    assert value["model"] == f"kurol/{wanted.model.id}"
    assert set(provider["models"]) == {wanted.model.id, wanted.small.id}
    assert provider["options"]["baseURL"] == wanted.v1
    assert provider["options"]["apiKey"] == key_of(wanted, "{env:KUROL_API_KEY}")
    # It replaces references in the text of its file before it reads it.
    assert text.count("{env:") == (wanted.key is None)
    assert "{file:" not in text


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x9b", "\u202e", "\u2028"])
@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_in_a_text_moves_a_cursor_or_turns_the_line(tool: str, character: str) -> None:
    model = ModelFacts(f"a{character}b")
    for step in TOOLS[tool].steps(Wanted("http://a", model, model)):
        assert step.text.replace("\n", "").isprintable(), step.where


@given(wanteds())
def test_python_holds_what_was_meant(wanted: Wanted) -> None:
    for step in TOOLS["python"].steps(wanted)[1:]:
        tree = ast.parse(step.text)
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert {wanted.model.id, "Say hello in one sentence."} <= strings
        assert strings & {wanted.base_url, wanted.v1}
        assert (wanted.key or "KUROL_API_KEY") in strings
        # No more statements than there are for a harmless name.
        plain = Wanted("http://a", ModelFacts("a"), ModelFacts("a"), wanted.key and "a")
        same = next(each for each in TOOLS["python"].steps(plain) if each.where == step.where)
        assert len(tree.body) == len(ast.parse(same.text).body)


@given(TEXTS)
def test_strings_of_javascript_are_strings_of_json(text: str) -> None:
    literal = quoting.javascript(text)
    assert json.loads(literal) == text
    assert literal.isprintable()


@given(wanteds())
def test_a_form_has_a_line_for_each_field_whatever_stands_in_it(wanted: Wanted) -> None:
    for tool in ("cline", "roo-code"):
        form = next(each for each in TOOLS[tool].steps(wanted) if each.language == "settings")
        names = [each.partition(": ")[0] for each in form.text.split("\n")]
        assert names == [
            "API Provider", "Base URL", "API Key", "Model", "Context Window Size",
            "Max Output Tokens", "Image Support", "Streaming",
        ]  # fmt: skip


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_no_tool_can_be_told_is_refused(text: str) -> None:
    harmless = ModelFacts("a")
    with pytest.raises(ValueError, match="NUL"):
        Wanted("http://a", ModelFacts(text), harmless)
    with pytest.raises(ValueError, match="NUL"):
        Wanted("http://a", harmless, harmless, text)
