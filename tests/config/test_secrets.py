"""``${...}`` is resolved in strings only, and what it stood for is shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.config.effective import effective
from kurolproxy.config.load import load, parse
from kurolproxy.config.problems import ConfigError

SECRET = "UPSTREAM-SECRET-DO-NOT-LEAK"
UPSTREAM = """
[[upstreams]]
name = "lab"
base_url = "http://10.0.0.5:8000"
protocols = ["openai-chat"]
"""


def notice(text: str, **environ: str) -> str:
    """What a string of the file becomes."""
    return parse(f"[server]\nnotice = '''{text}'''", "config.toml", environ).server.notice


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "config.toml", environ or {})
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("<${A}${_b2}>", "<onetwo>"),
        ("$A $ {A} $$A }", "$A $ {A} $$A }"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$${${A}}", "${one}"),
        ("${C}", "${A}"),
    ],
)
def test_references_become_their_values(text: str, value: str) -> None:
    assert notice(text, A="one", _b2="two", C="${A}") == value


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r'")))
def test_text_without_references_stays_as_it_is(text: str) -> None:
    escaped = text.replace("${", "$${")
    printable = "".join(char for char in escaped if char.isprintable())
    assert notice(printable) == printable.replace("$${", "${")


def test_keys_are_not_resolved() -> None:
    assert problems('[server]\n"${A}" = 1', {"A": "notice"}) == [
        'config.toml:2:1: unknown key "${A}" in [server]'
    ]


def test_value_cannot_become_another_type() -> None:
    assert problems('[log]\n[limits]\nmax_body_bytes = "${A}"', {"A": "5"}) == [
        "config.toml:3:1: max_body_bytes in [limits]:"
        " expected a whole number of at least 1, got a string"
    ]


FORMS = "write ${NAME}, ${file:PATH} or ${credential:NAME}, and $${ for a plain ${"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("${NOPE}", "the environment variable NOPE is not set"),
        ("${BYTES}", "the environment variable BYTES is not UTF-8 text"),
        ("${}", f'cannot read "${{}}": {FORMS}'),
        ("${A-B}", f'cannot read "${{A-B}}": {FORMS}'),
        ("${env:A}", f'cannot read "${{env:A}}": {FORMS}'),
        ("a${A", f"a ${{ without its }}: {FORMS}"),
        ("${file:/none}", 'cannot read "${file:/none}": No such file or directory'),
        ("${file:/}", 'cannot read "${file:/}": Is a directory'),
        ("${file:/dev/zero}", 'cannot read "${file:/dev/zero}": larger than 65536 bytes'),
        ("${credential:../x}", '"../x" is no name of a systemd credential'),
        ("${credential:..}", '".." is no name of a systemd credential'),
        ("${credential:}", '"" is no name of a systemd credential'),
        (
            "${credential:x}",
            "${credential:x}: there is no credentials directory ($CREDENTIALS_DIRECTORY is not"
            " set); systemd makes one for LoadCredential=",
        ),
    ],
)
def test_reference_that_stands_for_nothing_is_a_problem(reference: str, message: str) -> None:
    environ = {"BYTES": "\udcff"}
    assert problems(f'[server]\nnotice = "{reference}"', environ) == [f"config.toml:2:1: {message}"]


def test_every_broken_reference_of_a_file_is_told() -> None:
    text = f'[servers]\na = ["${{A}}"]\n{UPSTREAM}api_keys = ["${{B}}", "x ${{C}} ${{D}}"]'
    assert problems(text) == [
        "config.toml:1:2: unknown table [servers]; did you mean [server]?",
        "config.toml:2:6: the environment variable A is not set",
        "config.toml:8:13: the environment variable B is not set",
        "config.toml:8:21: the environment variable C is not set",
        "config.toml:8:21: the environment variable D is not set",
    ]


def test_files_and_credentials_are_read_without_their_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "openai").write_text("from-systemd\r\n")
    text = UPSTREAM + 'api_keys = ["${file:key}", "${credential:openai}"]'
    name = str(tmp_path / "config.toml")
    given_folder = parse(text, name, {}, tmp_path / "credentials")
    assert given_folder.catalog.upstreams["lab"].api_keys == ("from-file", "from-systemd")
    assert given_folder.secrets == ("from-systemd", "from-file")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert parse(text, name, environ).secrets == given_folder.secrets


def test_file_that_is_no_text_is_told_without_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(SECRET.encode() + b"\xff")
    with pytest.raises(ConfigError) as caught:
        parse(UPSTREAM + 'api_keys = ["${file:key}"]', str(tmp_path / "c.toml"), {})
    assert str(caught.value).endswith('cannot read "${file:key}": not UTF-8 text')
    assert SECRET not in repr(caught.value.__context__)


LEAKS = [
    '[log]\nlevel = "${S}"',
    '[server]\nlisten = "${S}"\npublic_url = "http://u:${S}@h"\nstate_dir = "/${S}${S}${S}${S}"',
    '[server]\ntrusted_proxies = ["${S}"]\nallowed_hosts = ["a ${S}"]',
    '[dashboard]\nsignup_plan = "${S}"\n[[plans]]\nname = "${S}x"\nmodels = ["${S}"]',
    '[limits]\nmax_body_bytes = "${S}"\n[metrics]\nlisten = "${S}"',
    '[[upstreams]]\nname = "${S}"\npreset = "${S}"',
    UPSTREAM + 'api_keys = ["${S} ${S}"]\nproxy = "${S}"\nheaders = { a = "${S}\\n" }',
    UPSTREAM.replace("http://10.0.0.5:8000", "${S}") + 'paths = { openai-chat = "${S}" }',
    UPSTREAM.replace("openai-chat", "${S}") + 'api_version = "${S}"',
    UPSTREAM.replace("lab", "${S}") * 2 + '[[models]]\nid = "m"\ntargets=[{upstream="${S}1"}]',
    UPSTREAM + '[[models]]\nid = "${S}\\n"\naliases = ["${S}\\n"]\nsampling = "${S}"\n'
    'efforts = ["${S}"]\nprotocols = ["${S}"]\ntargets = [{ upstream = "${S}" }]',
    UPSTREAM.replace("lab", "${S}")
    + '[[models]]\nid = "m"\nprotocols = ["anthropic"]\ntargets = [{ upstream = "${S}" }]',
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_problem_shows_a_resolved_value(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "config.toml", {"S": SECRET})
    assert SECRET not in "\n".join(map(str, caught.value.problems))
    assert SECRET not in repr(caught.value)


FULL = """
[metrics]
token = "${T}"
[[upstreams]]
name = "lab"
base_url = "http://10.0.0.5:8000"
protocols = ["openai-chat"]
api_keys = ["${A}", "literal-key"]
proxy = "http://user:${P}%40@10.0.0.1:3128"
[upstreams.headers]
Authorization = "Bearer ${B}"
x-plain = "visible"
x-other = "id-${C}"
x-api-token = "written-out"
[server]
notice = "${N}"
contact = "${credential:contact}"
"""


@pytest.fixture
def environ() -> dict[str, str]:
    return {
        "T": "metrics-secret",
        "A": "key-secret",
        "P": "proxy-secret",
        "B": "bearer-secret",
        "C": "header-secret",
        "N": "a notice is no secret",
    }


def test_every_secret_is_handed_to_the_scrubber(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "contact").write_text("credential-secret")
    config = parse(FULL, "config.toml", environ, tmp_path)
    assert sorted(config.secrets) == [
        "Bearer bearer-secret",
        "bearer-secret",
        "credential-secret",
        "header-secret",
        "key-secret",
        "literal-key",
        "metrics-secret",
        "proxy-secret",
        "proxy-secret%40",
        "proxy-secret@",
        "written-out",
    ]


def test_file_can_be_read_without_its_credentials(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(FULL.replace("${credential:contact}", "ops").replace("${N}", "${HOME}"))
    file.chmod(0o600)
    config = load(file, {"HOME": "/home"}, secrets=False)
    upstream = config.catalog.upstreams["lab"]
    assert upstream.api_keys == ("literal-key",)
    assert upstream.headers == {"x-plain": "visible", "x-api-token": "written-out"}
    assert upstream.proxy is None
    assert config.metrics.token == ""
    assert config.server.notice == "/home"
    assert config.warnings == ()


def test_other_references_are_needed_without_credentials_too(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[server]\nstate_dir = "${STATE}"\n[metrics]\ntoken = "${TOKEN}"')
    with pytest.raises(ConfigError) as caught:
        load(file, {}, secrets=False)
    assert str(caught.value) == f"{file}:2:1: the environment variable STATE is not set"


def test_effective_configuration_hides_every_secret(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "contact").write_text("ops@example.org")
    config = parse(FULL, "config.toml", environ, tmp_path)
    shown = effective(config)
    assert shown["metrics"]["token"] == "***"
    assert shown["upstreams"][0] == {
        "name": "lab",
        "protocols": ["openai-chat"],
        "base_url": "http://10.0.0.5:8000",
        "paths": {},
        "query": {},
        "auth_header": None,
        "api_keys": ["***", "***"],
        "headers": {
            "authorization": "***",
            "x-plain": "visible",
            "x-other": "***",
            "x-api-token": "***",
        },
        "proxy": "http://***@10.0.0.1:3128",
        "max_concurrent": None,
        "trace": False,
    }
    for secret in config.secrets:
        assert secret not in str({**shown, "server": None})


def test_representation_of_a_configuration_hides_its_secrets(environ: dict[str, str]) -> None:
    text = FULL.replace("${credential:contact}", "x")
    config = parse(text, "config.toml", environ)
    shown = repr(config) + repr(config.catalog.upstreams)
    assert not [secret for secret in environ.values() if secret in shown and "notice" not in secret]
