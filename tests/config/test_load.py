"""A valid file becomes one Config; an invalid one tells everything that is wrong, at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.config.addresses import Address
from kurolproxy.config.load import load, parse
from kurolproxy.config.model import Config
from kurolproxy.config.problems import ConfigError
from kurolproxy.ir import ModelTraits
from kurolproxy.policy.catalog import Price, Timeouts

SECRET = "UPSTREAM-SECRET-DO-NOT-LEAK"
UPSTREAM = """
[[upstreams]]
name = "lab"
base_url = "http://10.0.0.5:8000"
protocols = ["openai-chat", "anthropic"]
"""
MODEL = (
    UPSTREAM
    + """
[[models]]
id = "m"
targets = [{ upstream = "lab" }]
"""
)


def problems(text: str, **environ: str) -> list[str]:
    """What ``check`` prints for a text."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "config.toml", environ)
    return [str(problem) for problem in caught.value.problems]


def warnings(text: str, **environ: str) -> list[str]:
    return [str(problem) for problem in parse(text, "config.toml", environ).warnings]


# --- defaults -----------------------------------------------------------------------------

DEFAULTS: dict[str, dict[str, Any]] = {
    "server": {
        "listen": ("127.0.0.1:8080",),
        "public_url": "http://127.0.0.1:8080",
        "public_urls": (),
        "state_dir": "/var/lib/kurolproxy",
        "contact": "",
        "notice": "",
        "trusted_proxies": (),
        "allowed_hosts": (),
        "drain_timeout_s": 300,
        "drain_delay_s": 0,
        "keepalive_interval_s": 15,
    },
    "limits": {
        "max_body_bytes": 33_554_432,
        "max_body_bytes_in_flight": 268_435_456,
        "header_timeout_s": 10,
        "body_timeout_s": 30,
        "max_event_bytes": 16_777_216,
        "max_json_depth": 100,
        "idle_connection_timeout_s": 75,
        "stalled_reader_timeout_s": 120,
        "failed_logins_per_minute": 30,
        "max_keys_per_account": 20,
    },
    "timeouts": {
        "connect_timeout_s": 5,
        "first_content_timeout_s": 300,
        "idle_timeout_s": 120,
        "answer_timeout_s": 600,
    },
    "ledger": {"durability": "normal", "when_unwritable": "fail-closed", "detail_days": 400},
    "metrics": {"listen": "127.0.0.1:9469", "token": ""},
    "log": {"requests": "all", "level": "info", "format": "json"},
    "dashboard": {
        "enabled": True,
        "signup": "closed",
        "signup_plan": "",
        "insecure_http": False,
    },
}


@pytest.mark.parametrize("section", DEFAULTS)
def test_empty_file_has_the_documented_defaults(section: str) -> None:
    config = parse("", "config.toml", {})
    assert dataclasses.asdict(getattr(config, section)) == DEFAULTS[section]
    assert config.warnings == ()
    assert config.secrets == ()


# --- one invalid file, everything at once -------------------------------------------------

INVALID = """\
[servers]
listen = "127.0.0.1:8080"

[[upstreams]]
name = "openai"
preset = "openai"
api_keys = ["${NOWHERE_KEY}"]

[[models]]
id = "gpt-4o"
targets = [{ upstream = "opnai" }]

[[plans]]
name = "team"
models = ["gpt-*", "unused-*"]
  requests_per_minut = 60
"""


def test_invalid_file_gives_one_line_for_each_error() -> None:
    assert problems(INVALID) == [
        "config.toml:1:2: unknown table [servers]; did you mean [server]?",
        "config.toml:7:13: the environment variable NOWHERE_KEY is not set",
        'config.toml:11:14: unknown upstream "opnai"; did you mean "openai"?',
        'config.toml:16:3: unknown key "requests_per_minut" in [[plans]];'
        ' did you mean "requests_per_minute"?',
    ]


def test_invalid_file_tells_no_warnings() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(INVALID, "config.toml", {})
    assert {problem.severity for problem in caught.value.problems} == {"error"}
    assert caught.value.warnings == []
    assert str(caught.value).count("\n") == 3


SYNTAX = [
    ("invalid value", "a = \n", "config.toml:1:5: not valid TOML: Invalid value"),
    (
        "bare reference",
        "[server]\ncontact = ${NAME}\n",
        "config.toml:2:11: not valid TOML: Invalid value:"
        ' references stand in quotes, as in "${NAME}"',
    ),
    (
        "end of file",
        'a = "x\n',
        "config.toml:1:7: not valid TOML: Illegal character '\\n'",
    ),
    (
        "table twice",
        "[server]\n[server]\n",
        "config.toml:2:8: not valid TOML: Cannot declare ('server',) twice",
    ),
    ("open array", "a = [1,\n  2", "config.toml:2:4: not valid TOML: Unclosed array"),
    ("deep", "a = " + "[" * 20_000, "config.toml: the file is nested too deeply"),
    (
        "long number",
        "a = " + "9" * 5_000,
        "config.toml: the file holds a number that is too long",
    ),
]


@pytest.mark.parametrize(("_name", "text", "line"), SYNTAX, ids=[case[0] for case in SYNTAX])
def test_syntax_error_is_a_problem_with_its_place(_name: str, text: str, line: str) -> None:
    assert [each.replace(" at the end of the file", "") for each in problems(text)] == [line]


# --- one rule, one line -------------------------------------------------------------------

RULES: list[tuple[str, str, list[str]]] = [
    (
        "misspelled array",
        "[[upstream]]\nname = 1",
        ["1:3: unknown table [[upstream]]; did you mean [[upstreams]]?"],
    ),
    ("strange table", '["a b"]', ['1:2: unknown table ["a b"]']),
    (
        "key before the tables",
        "listen = 1\nshine = 2",
        [
            '1:1: unknown key "listen" before the first table; it belongs in [server] or [metrics]',
            '2:1: unknown key "shine" before the first table',
        ],
    ),
    (
        "table for array",
        '[plans]\nname = "x"',
        ["1:2: plans is an array of tables: write [[plans]]"],
    ),
    (
        "array for table",
        "[[log]]",
        ["1:3: expected [log] to be a table, got an array"],
    ),
    (
        "scalars for tables",
        "server = 1\nplans = [2]",
        [
            "1:1: expected [server] to be a table, got a whole number",
            "2:10: expected [[plans]] to be a table, got a whole number",
        ],
    ),
    (
        "wrong types",
        "[server]\nlisten = 8080\ncontact = 2024-01-01\npublic_urls = [1, true]\n"
        '[limits]\nmax_body_bytes = "1"\nmax_keys_per_account = 2.0\n[dashboard]\nenabled = 1',
        [
            "2:1: listen in [server]: expected a string or an array of strings, got 8080",
            "3:1: contact in [server]: expected a string, got a date or time",
            "4:16: public_urls[0] in [server]: expected a string, got 1",
            "4:19: public_urls[1] in [server]: expected a string, got a boolean",
            "6:1: max_body_bytes in [limits]: expected a whole number of at least 1, got a string",
            "7:1: max_keys_per_account in [limits]: expected a whole number of at least 1, got 2.0",
            "9:1: enabled in [dashboard]: expected true or false, got 1",
        ],
    ),
    (
        "ranges",
        "[limits]\nmax_body_bytes = 0\nheader_timeout_s = inf\nbody_timeout_s = nan\n"
        "[timeouts]\nidle_timeout_s = 0\nfirst_content_timeout_s = 3600.5",
        [
            "2:1: max_body_bytes in [limits]: expected a whole number of at least 1, got 0",
            "3:1: header_timeout_s in [limits]: expected a number above 0 and up to 3600, got inf",
            "4:1: body_timeout_s in [limits]: expected a number above 0 and up to 3600, got nan",
            "6:1: idle_timeout_s in [timeouts]: expected a number above 0 and up to 3600, got 0",
            "7:1: first_content_timeout_s in [timeouts]:"
            " expected a number above 0 and up to 3600, got 3600.5",
        ],
    ),
    (
        "choices",
        '[ledger]\ndurability = "Strict"\n[log]\nformat = ""',
        [
            '2:1: durability in [ledger]: expected "normal" or "strict", got "Strict"',
            '4:1: format in [log]: expected "json" or "text", got ""',
        ],
    ),
    (
        "listen",
        '[server]\nlisten = ["127.0.0.1:80", ":80", "127.0.0.1:80", "::1:80", "h:99999"]\n'
        '[metrics]\nlisten = "9469"',
        [
            "2:1: listen in [server]: names an address twice",
            "2:27: listen[1] in [server]: has no host name or address before the port;"
            " 0.0.0.0 is every one",
            "2:50: listen[3] in [server]: needs brackets around an IPv6 address, as in [::1]:8080",
            "2:60: listen[4] in [server]: must end with a colon and a port from 0 to 65535",
            "4:1: listen in [metrics]: must end with a colon and a port from 0 to 65535",
        ],
    ),
    (
        "listen nowhere",
        "[server]\nlisten = []",
        ["2:1: listen in [server]: must name an address"],
    ),
    (
        "URLs",
        '[server]\npublic_url = "llm.example.org"\n'
        'public_urls = ["https://h/x", "https://h?q", "https://u@h", "https://"]',
        [
            "2:1: public_url in [server]: must begin with http:// or https://",
            "3:16: public_urls[0] in [server]:"
            " must not have a path: the gateway owns the whole of its host",
            "3:31: public_urls[1] in [server]: must not have a query or a fragment",
            "3:46: public_urls[2] in [server]: must not hold a user name or password",
            "3:61: public_urls[3] in [server]: has no valid host",
        ],
    ),
    (
        "proxies and hosts",
        '[server]\ntrusted_proxies = ["10.0.0.0/8", "10.0.0.1/8", "localhost"]\n'
        'allowed_hosts = ["llm.example.org:443", "[::1]", "https://x", "a_b c"]',
        [
            "2:34: trusted_proxies[1] in [server]:"
            " no network: bits are set behind its prefix length",
            "2:48: trusted_proxies[2] in [server]: no IP address or network, as in 10.0.0.0/8",
            "3:50: allowed_hosts[2] in [server]: no host name",
            "3:63: allowed_hosts[3] in [server]: no host name",
        ],
    ),
    (
        "long state directory",
        f'[server]\nstate_dir = "/{"s" * 87}"',
        [
            "2:1: state_dir in [server]: too long: its control.sock would have a path of 101"
            " bytes, and a socket's path has at most 100"
        ],
    ),
    (
        "no state directory",
        '[server]\nstate_dir = ""',
        ["2:1: state_dir in [server]: must not be empty"],
    ),
    (
        "sign-up",
        '[dashboard]\nsignup = "open"',
        ['2:1: signup = "open" needs signup_plan: the plan of the accounts that people make'],
    ),
    (
        "plan of new accounts",
        MODEL + '[dashboard]\nsignup_plan = "taem"\n[[plans]]\nname="team"\nmodels=["m"]',
        ['11:1: unknown plan "taem"; did you mean "team"?'],
    ),
    (
        "upstream of nothing",
        "[[upstreams]]",
        [
            "1:1: name is missing in [[upstreams]]",
            "1:1: protocols is missing in [[upstreams]]: name what it speaks, or a preset",
            "1:1: base_url is missing in [[upstreams]]: name the server, or a preset",
        ],
    ),
    (
        "preset",
        '[[upstreams]]\nname = "a"\npreset = "opnai"\n[[upstreams]]\nname = "b"\npreset = "zzz"',
        [
            '3:1: unknown preset "opnai"; did you mean "openai"?',
            '6:1: unknown preset "zzz" (there are: openai, anthropic, gemini, openrouter,'
            " deepseek, groq, mistral, xai, azure, ollama, vllm, llama.cpp)",
        ],
    ),
    (
        "preset without a base URL",
        '[[upstreams]]\nname = "az"\npreset = "azure"\napi_keys = ["k"]\n'
        '[[upstreams]]\nname = "l"\npreset = "llama.cpp"',
        [
            "1:1: base_url is missing in [[upstreams]]: for example https://NAME.openai.azure.com",
            '1:1: api_version is missing in [[upstreams]]: for example "2024-10-21"',
            "5:1: base_url is missing in [[upstreams]]: for example http://127.0.0.1:8081",
        ],
    ),
    (
        "protocols",
        '[[upstreams]]\nname = "a"\nbase_url = "http://h"\n'
        'protocols = ["openai-chat", "antropic", "openai-chat", 5]\n'
        '[[upstreams]]\nname = "b"\nbase_url = "http://h"\nprotocols = []',
        [
            '4:29: unknown protocol "antropic"; did you mean "anthropic"?',
            '4:41: protocol "openai-chat" is named twice',
            "4:56: protocols[3] in [[upstreams]]: expected a string, got 5",
            "8:1: protocols in [[upstreams]]: must name at least one protocol",
        ],
    ),
    *[
        (
            f"base_url {url}",
            f'[[upstreams]]\nname = "a"\nprotocols = ["anthropic"]\nbase_url = "{url}"',
            [f"4:1: base_url in [[upstreams]]: {fault}"],
        )
        for url, fault in [
            ("", "must not be empty"),
            ("h:8000", "must begin with http:// or https://"),
            ("http:h", "must begin with http:// or https://"),
            ("unix:///run/x", "must begin with http:// or https://"),
            ("http://", "has no valid host"),
            ("http://h:99999", "has no valid host and port"),
            ("http://[::1", "has no valid host and port"),
            ("http://h/a b", "holds a space or another character that stands in no URL"),
            ("http://h/?a=b", "must not have a query or a fragment"),
            ("http://h/#a", "must not have a query or a fragment"),
            (
                "http://u:p@h",
                "must not hold a user name or password; credentials go into api_keys or headers",
            ),
        ]
    ],
    (
        "paths",
        UPSTREAM + 'paths = { gemini = "/x", openai-chat = "x", anthropic = "/{deployment}" }',
        [
            "6:11: paths.gemini in [[upstreams]]:"
            " not a protocol of this upstream (it has: openai-chat, anthropic)",
            "6:26: paths.openai-chat in [[upstreams]]: must begin with /",
            "6:45: paths.anthropic in [[upstreams]]: holds a character that stands in no path"
            " ({model} is the only placeholder)",
        ],
    ),
    (
        "api_version",
        UPSTREAM + 'api_version = "1"',
        ["6:1: api_version is for preset azure only"],
    ),
    (
        "credentials",
        UPSTREAM + 'api_keys = ["", "a b", "ok", 1, "caf\\u00e9"]',
        [
            "6:13: api_keys[0] in [[upstreams]]: must not be empty",
            "6:17: api_keys[1] in [[upstreams]]:"
            " holds a space, a line break or another character that no key holds",
            "6:30: api_keys[3] in [[upstreams]]: expected a string, got 1",
            "6:33: api_keys[4] in [[upstreams]]:"
            " holds a space, a line break or another character that no key holds",
        ],
    ),
    (
        "headers",
        UPSTREAM + '[upstreams.headers]\n"a b" = "x"\nx-a = "1"\nX-A = "2"\nContent-Length = "3"\n'
        'x-b = "a\\nb"\nx-c = 4',
        [
            '7:1: headers."a b" in [[upstreams]]: no name of a header',
            "9:1: headers.X-A in [[upstreams]]: given twice (letter case does not count)",
            "10:1: headers.Content-Length in [[upstreams]]:"
            " a header that the gateway writes itself",
            "11:1: headers.x-b in [[upstreams]]: holds a character no header may hold",
            "12:1: headers.x-c in [[upstreams]]: expected a string, got 4",
        ],
    ),
    (
        "proxy",
        UPSTREAM + 'proxy = "socks5://u:hunter2@h:1080"',
        ["6:1: proxy in [[upstreams]]: must begin with http:// or https://"],
    ),
    (
        "upstream twice",
        UPSTREAM + UPSTREAM,
        ['8:1: the upstream name "lab" is used already in line 3'],
    ),
    (
        "names",
        f'{UPSTREAM}[[models]]\nid = "m"\naliases = ["m", " n", "n", ""]\n'
        'targets = [{ upstream = "lab" }]\n[[models]]\nid = "n"\ntargets=[{upstream="lab"}]\n'
        f'[[plans]]\nname = "{"p" * 201}"\nmodels = ["*"]',
        [
            '8:12: the model id or alias "m" is used already in line 7',
            '8:17: the model id or alias " n" must have 1 to 200 printable characters,'
            " the outer ones no spaces",
            '8:28: the model id or alias "" must have 1 to 200 printable characters,'
            " the outer ones no spaces",
            '11:1: the model id or alias "n" is used already in line 8',
            f'14:1: the plan name "{"p" * 80}..." must have 1 to 200 printable characters,'
            " the outer ones no spaces",
        ],
    ),
    (
        "empty entries",
        '[[models]]\n[[models]]\nid = ""\ntargets = []\n[[plans]]\n[[plans]]\nname=""\nmodels=[]',
        [
            "1:1: id is missing in [[models]]",
            "1:1: targets is missing in [[models]]",
            "3:1: id in [[models]]: must not be empty",
            "4:1: targets in [[models]]: must not be empty",
            "5:1: name is missing in [[plans]]",
            "5:1: models is missing in [[plans]]",
            "7:1: name in [[plans]]: must not be empty",
            "8:1: models in [[plans]]: must not be empty",
        ],
    ),
    (
        "targets",
        UPSTREAM + '[[models]]\nid = "m"\ntargets = [5, { upstream = "lba", wieght = 1 },'
        ' { model = "x", weight = 0 }, { upstream = "lab", vision = "no" }]',
        [
            "8:12: targets[0] in [[models]]: expected a table, got 5",
            '8:17: unknown upstream "lba"; did you mean "lab"?',
            '8:35: unknown key "wieght" in targets of [[models]]; did you mean "weight"?',
            "8:49: upstream is missing in targets of [[models]]",
            "8:64: weight in targets of [[models]]:"
            " expected a whole number from 1 to 1000000, got 0",
            "8:98: vision in targets of [[models]]: expected true or false, got a string",
        ],
    ),
    (
        "flags",
        MODEL + 'sampling = "maybe"\nefforts = ["low", "hgh"]\nprice = { prompt = -1, input = 2 }\n'
        "max_output_tokens = 0",
        [
            '10:1: sampling in [[models]]: expected "yes" or "no" or "only_without_reasoning",'
            ' got "maybe"',
            '11:19: efforts[1] in [[models]]: expected "none" or "minimal" or "low" or "medium"'
            ' or "high" or "xhigh" or "max", got "hgh"',
            "12:11: prompt in price of [[models]]: expected a number from 0 to 1000000, got -1",
            '12:24: unknown key "input" in price of [[models]]',
            "13:1: max_output_tokens in [[models]]: expected a whole number of at least 1, got 0",
        ],
    ),
    (
        "protocol that the upstream lacks",
        '[[upstreams]]\nname = "o"\npreset = "openai"\napi_keys = ["k"]\n'
        '[[models]]\nid = "m"\nprotocols = ["openai-chat", "anthropic"]\n'
        'tools_with_reasoning = "gemini"\ntargets = [{ upstream = "o" }]\n',
        [
            '7:29: protocol "anthropic" is not offered by upstream "o"'
            " (it offers: openai-chat, openai-responses)",
            '8:1: protocol "gemini" is not offered by upstream "o"'
            " (it offers: openai-chat, anthropic)",
        ],
    ),
    (
        "plan limits",
        MODEL + '[[plans]]\nname = "p"\nmodels = ["*"]\nrequests_per_minute = 0\n'
        "daily_tokens = 1.5\nconcurrent_requests = -1\ncached_tokens_weight = 1.1",
        [
            "13:1: requests_per_minute in [[plans]]: expected a whole number of at least 1, got 0",
            "14:1: daily_tokens in [[plans]]: expected a whole number of at least 1, got 1.5",
            "15:1: concurrent_requests in [[plans]]: expected a whole number of at least 1, got -1",
            "16:1: cached_tokens_weight in [[plans]]: expected a number from 0 to 1, got 1.1",
        ],
    ),
]


@pytest.mark.parametrize(("_name", "text", "lines"), RULES, ids=[case[0] for case in RULES])
def test_broken_rule_is_told_with_its_place(_name: str, text: str, lines: list[str]) -> None:
    assert problems(text) == [f"config.toml:{line}" for line in lines]


def test_protocol_of_another_version_is_told() -> None:
    text = (
        '[[upstreams]]\nname = "g"\npreset = "gemini"\napi_keys = ["k"]\n'
        '[[upstreams]]\nname = "a"\nbase_url = "http://h"\nprotocols = ["gemini"]'
    )
    with pytest.raises(ConfigError) as caught:
        parse(text, "config.toml", {}, available=("openai-chat", "anthropic"))
    assert [str(problem) for problem in caught.value.problems] == [
        'config.toml:3:1: preset "gemini" needs the protocol "gemini", which is not in this version'
        " (it has: openai-chat, anthropic)",
        'config.toml:8:14: protocol "gemini" is not in this version'
        " (it has: openai-chat, anthropic)",
    ]


# --- warnings -----------------------------------------------------------------------------

CHEAP_CAP = (
    "this target speaks anthropic and has no max_output_tokens:"
    " requests that set no cap are cut at 8192 tokens"
)
CLEAR = (
    "an http URL on a name that is not loopback: keys travel in clear text, and the"
    " dashboard is not served there; put a TLS proxy in front and use https"
)
WARNINGS: list[tuple[str, str, list[str]]] = [
    (
        "messages target without a cap",
        '[[upstreams]]\nname = "a"\npreset = "anthropic"\napi_keys = ["k"]\n[[models]]\n'
        'id = "c"\ntargets = [{ upstream = "a" }, { upstream = "a", max_output_tokens = 9 }]',
        [f"7:12: warning: {CHEAP_CAP}"],
    ),
    ("messages second choice", MODEL, []),
    (
        "pattern of nothing",
        MODEL + '[[plans]]\nname = "p"\nmodels = ["m", "M*", "[m]"]',
        ['12:16: warning: the pattern "M*" matches no model'],
    ),
    (
        "http on a name",
        '[server]\npublic_url = "http://llm.example.org"\npublic_urls = ["http://[::1]:80",'
        ' "http://10.0.0.1"]',
        [f"2:1: warning: {CLEAR}", f"3:35: warning: {CLEAR}"],
    ),
    (
        "http on every address",
        '[server]\nlisten = ["0.0.0.0:80"]',
        [f"2:1: warning: {CLEAR}"],
    ),
    (
        "http on loopback",
        '[server]\npublic_url = "http://localhost:8080"\npublic_urls = ["http://127.1.2.3",'
        ' "http://a.localhost", "https://llm.example.org"]',
        [],
    ),
    (
        "insecure http",
        '[server]\npublic_url = "http://llm.example.org"\n[dashboard]\ninsecure_http = true',
        ["4:1: warning: insecure_http = true: passwords, sessions and keys travel in clear text"],
    ),
    (
        "preset without a key",
        '[[upstreams]]\nname = "a"\npreset = "openai"\n[[upstreams]]\nname = "b"\n'
        'preset = "ollama"\n[[upstreams]]\nname = "c"\npreset = "openai"\n'
        'headers = { Authorization = "Bearer x" }',
        ['1:1: warning: no api_keys: preset "openai" answers nothing without one'],
    ),
    (
        "bodies in flight",
        "[limits]\nmax_body_bytes_in_flight = 1000",
        [
            "2:1: warning: max_body_bytes_in_flight is below max_body_bytes:"
            " the largest bodies never fit"
        ],
    ),
]


@pytest.mark.parametrize(("_name", "text", "lines"), WARNINGS, ids=[case[0] for case in WARNINGS])
def test_doubtful_setting_is_a_warning(_name: str, text: str, lines: list[str]) -> None:
    assert warnings(text) == [f"config.toml:{line}" for line in lines]


# --- what a valid file says ---------------------------------------------------------------

WHOLE = """
[server]
listen = ["0.0.0.0:8080", "[::1]:0"]
public_url = "https://llm.example.org/"
state_dir = "state"

[timeouts]
idle_timeout_s = 100
answer_timeout_s = 500

[metrics]
listen = ""

[[upstreams]]
name = "o"
preset = "openai"
base_url = "https://eu.api.openai.com/"
api_keys = ["${KEY}", "second"]
headers = { OpenAI-Organization = "org" }
first_content_timeout_s = 200
answer_timeout_s = 400

[[upstreams]]
name = "az"
preset = "azure"
base_url = "https://x.openai.azure.com"
api_version = "2024-10-21"
api_keys = ["k"]
max_concurrent = 4

[[models]]
id = "gpt"
aliases = ["claude-gpt"]
context_window = 1000
max_output_tokens = 100
first_content_timeout_s = 900
developer_role = false
price = { prompt = 1, completion = 2.5 }

[[models.targets]]
upstream = "o"
model = "gpt-4o"
vision = false

[[models.targets]]
upstream = "az"
priority = 1
weight = 3
max_output_tokens = 50
answer_timeout_s = 300
developer_role = true

[[plans]]
name = "p"
models = ["gpt*"]
daily_tokens = 5_000
cached_tokens_weight = 0
"""


@pytest.fixture
def whole() -> Config:
    return parse(WHOLE, "conf/config.toml", {"KEY": SECRET})


def test_target_inherits_timeouts_from_model_upstream_and_defaults(whole: Config) -> None:
    first, second = whole.catalog.models["gpt"].targets
    assert first.timeouts == Timeouts(5, 900, 100, 400)
    assert second.timeouts == Timeouts(5, 900, 100, 300)


def test_target_inherits_flags_from_model_and_preset(whole: Config) -> None:
    first, second = whole.catalog.models["gpt"].targets
    assert first.traits == ModelTraits(
        reasoning_family="openai",
        max_tokens_field="max_completion_tokens",
        system_position="any",
        custom_tools=True,
        developer_role=False,
        vision=False,
        context_window=1000,
        max_output_tokens=100,
    )
    assert second.traits == ModelTraits(
        developer_role=True, context_window=1000, max_output_tokens=50
    )


def test_model_has_what_the_file_says(whole: Config) -> None:
    model = whole.catalog.models["gpt"]
    assert whole.catalog.find("claude-gpt") is model
    assert model.price == Price(prompt=1, completion=2.5)
    assert [(t.upstream.name, t.model, t.priority, t.weight) for t in model.targets] == [
        ("o", "gpt-4o", 0, 1),
        ("az", "gpt", 1, 3),
    ]
    assert whole.catalog.plans["p"].daily_tokens == 5_000
    assert whole.catalog.plans["p"].requests_per_minute is None


def test_upstream_has_its_own_words_over_the_preset(whole: Config) -> None:
    upstream = whole.catalog.upstreams["o"]
    assert upstream.base_url == "https://eu.api.openai.com"
    assert upstream.protocols == ("openai-chat", "openai-responses")
    assert upstream.api_keys == (SECRET, "second")
    assert upstream.headers == {"openai-organization": "org"}


def test_azure_has_its_path_query_and_header(whole: Config) -> None:
    upstream = whole.catalog.upstreams["az"]
    assert upstream.paths == {"openai-chat": "/openai/deployments/{model}/chat/completions"}
    assert upstream.query == {"api-version": "2024-10-21"}
    assert upstream.auth_header == "api-key"
    assert upstream.max_concurrent == 4


def test_server_is_ready_to_use(whole: Config) -> None:
    assert whole.server.addresses == (Address("0.0.0.0", 8080), Address("::1", 0))
    assert [str(each) for each in whole.server.addresses] == ["0.0.0.0:8080", "[::1]:0"]
    assert whole.server.public_url == "https://llm.example.org"
    assert whole.server.state_path == Path("conf/state").absolute()
    assert whole.metrics.address is None
    assert parse("", "x", {}).metrics.address == Address("127.0.0.1", 9469)


def test_one_address_needs_no_array() -> None:
    assert parse('[server]\nlisten = "[::1]:80"', "x", {}).server.listen == ("[::1]:80",)


def test_model_may_narrow_the_protocols() -> None:
    config = parse(MODEL + 'protocols = ["anthropic"]\nmax_output_tokens = 5', "x", {})
    (target,) = config.catalog.models["m"].targets
    assert target.protocols == ("anthropic",)
    assert target.upstream.protocols == ("openai-chat", "anthropic")


def test_version_with_more_codecs_offers_more_of_a_preset() -> None:
    text = '[[upstreams]]\nname = "o"\npreset = "openai"\n[[upstreams]]\nname="g"\npreset="gemini"'
    config = parse(text, "x", {}, available=("openai-chat", "openai-responses", "gemini"))
    assert config.catalog.upstreams["o"].protocols == ("openai-chat", "openai-responses")
    assert config.catalog.upstreams["g"].protocols == ("gemini",)


def test_target_of_an_upstream_with_an_error_is_not_dangling() -> None:
    text = MODEL.replace("http://10", "ftp://10") + 'protocols = ["anthropic"]'
    assert problems(text) == [
        "config.toml:4:1: base_url in [[upstreams]]: must begin with http:// or https://"
    ]


# --- files --------------------------------------------------------------------------------


def test_file_is_loaded_from_its_path(tmp_path: Path) -> None:
    file = tmp_path / "kurolproxy.toml"
    file.write_text('\ufeff[server]\r\nstate_dir = "s"\r\ncontact = "caf\u00e9"\r\n')
    config = load(file, {})
    assert config.name == str(file)
    assert config.server.state_path == tmp_path / "s"
    assert config.server.contact == "caf\u00e9"


def test_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.toml", {})
    assert str(caught.value) == (
        f"{tmp_path / 'none.toml'}: the file cannot be read: No such file or directory"
    )


def test_file_that_is_no_text_is_a_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b'[server]\ncontact = "\xc3\xa9 \xff"')
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(caught.value) == f"{file}:2:14: not valid TOML: not UTF-8 text"


def test_endless_file_is_a_problem() -> None:
    with pytest.raises(ConfigError, match="the file is larger than"):
        load(Path("/dev/zero"), {})


LITERALS = """\
[metrics]
token = "scrape"
[[upstreams]]
name = "lab"
base_url = "http://10.0.0.5:8000"
protocols = ["openai-chat"]
api_keys = ["${KEY}", "literal"]
headers = { x-team = "a", x-secret = "b" }
proxy = "http://u:p@10.0.0.1"
[[upstreams]]
name = "open"
base_url = "http://10.0.0.5:8000"
protocols = ["openai-chat"]
headers = { authorization = "Bearer ${KEY}" }
proxy = "http://10.0.0.1"
"""


@pytest.mark.parametrize(
    ("mode", "lines"),
    [
        (0o600, []),
        (0o611, []),
        (0o640, [2, 7, 8, 9]),
        (0o604, [2, 7, 8, 9]),
        (0o620, [2, 7, 8, 9]),
        # Line 1: whoever may change the file decides where the keys are sent.
        (0o602, [1, 2, 7, 8, 9]),
    ],
    ids=["0600", "0611", "0640", "0604", "0620", "0602"],
)
def test_literal_secret_in_a_file_that_others_can_read_is_a_warning(
    tmp_path: Path, mode: int, lines: list[int]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(LITERALS)
    file.chmod(mode)
    found = load(file, {"KEY": SECRET}).warnings
    assert [warning.line for warning in found] == lines
    assert all(f"(mode {mode:04o})" in warning.message for warning in found)
