"""Whatever stands in a file, it becomes a Config or a list of problems."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kurolproxy.config.effective import effective
from kurolproxy.config.load import parse
from kurolproxy.config.problems import ConfigError
from kurolproxy.config.schema import every_key
from tests.config.toml_texts import toml_texts

_HEADERS = [
    *("[server]", "[limits]", "[timeouts]", "[ledger]", "[metrics]", "[log]", "[dashboard]"),
    *("[[upstreams]]", "[upstreams.headers]", "[upstreams.paths]", "[[models]]"),
    *("[[models.targets]]", "[[plans]]", "[models]", "[[server]]", "[x]"),
]
_NAMES = sorted({key.name for key in every_key()} | {"openai-chat", "x-a", "'${A}'", "''"})
_VALUES = [
    *('""', '"a"', '"m"', '"*"', '"openai"', '"azure"', '"gemini"', '"openai-chat"', '"${A}"'),
    *('"${N}"', '"${"', '"http://h"', '"http://[::1"', '"http://u:p@h:1"', '"https://h/?"'),
    *('"127.0.0.1:0"', '"[x]:1"', '"/{model}"', '"a\\u0000"', '"\\n"', '"\\U0001F600"'),
    *("0", "1", "-1", "5.5", "nan", "inf", "99999999999999999999", "true", "1979-05-27"),
    *("[]", "[[]]", "{}", "[1, 'a']", "['a', 'a']", "['openai-chat']", "['http://h']", "[{}]"),
    *("{a = 1}", "{x-key = 'a'}", "{prompt = 1}", "[{upstream = 'm'}]", "[{upstream = 5}]"),
]


@st.composite
def _files(draw: st.DrawFn) -> str:
    lines = []
    for header in draw(st.lists(st.sampled_from(_HEADERS), max_size=6)):
        names = draw(st.lists(st.sampled_from(_NAMES), max_size=8, unique=True))
        lines += [header, *(f"{name} = {draw(st.sampled_from(_VALUES))}" for name in names)]
    return "\n".join(lines)


def _outcome(text: str) -> str:
    """What a file leads to; any other exception is a failure."""
    try:
        config = parse(text, "config.toml", {"A": "UPSTREAM-SECRET-DO-NOT-LEAK"})
    except ConfigError as error:
        return str(error)
    effective(config)
    return "\n".join(map(str, config.warnings))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_files())
@example('[[upstreams]]\nname = "${A}"\nproxy = "http://[::1"\napi_keys = ["${A}", 5]')
def test_file_of_known_keys_and_any_values_leads_to_an_outcome(text: str) -> None:
    outcome = _outcome(text)
    assert "UPSTREAM-SECRET-DO-NOT-LEAK" not in outcome
    assert "None" not in outcome


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(toml_texts())
def test_any_toml_leads_to_an_outcome(text: str) -> None:
    lines = _outcome(text).splitlines()
    assert all(line.startswith("config.toml:") for line in lines)


@given(st.text())
def test_any_text_leads_to_an_outcome(text: str) -> None:
    _outcome(text)
