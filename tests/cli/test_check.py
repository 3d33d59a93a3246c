"""``check``: every problem in one run, and what each exit code stands for."""

from __future__ import annotations

import json

import pytest

from tests.cli.sites import Site

BROKEN = """[server]
listen = "127.0.0.1"
contcat = "x"

[[plans]]
name = "team"
models = 7
"""
# An http URL on a public name only earns a warning.
DOUBTFUL = """[server]
public_url = "http://llm.example.org"
"""


def test_every_problem_is_a_line_with_its_place(site: Site) -> None:
    site.write(BROKEN)
    result = site.run("check")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.removeprefix(f"{site.config}:").split(": ")[0] for line in lines] == [
        "2:1",
        "3:1",
        "7:1",
    ]
    assert 'did you mean "contact"' in lines[1]
    assert result.stderr == "kurolproxy: 3 errors\n"


def test_json_has_every_problem(site: Site) -> None:
    site.write(BROKEN)
    result = site.run("check", "--json")
    assert result.exit_code == 1
    value = json.loads(result.stdout)
    assert (value["ok"], value["config"]) == (False, str(site.config))
    assert [(each["line"], each["severity"]) for each in value["problems"]] == [
        (2, "error"),
        (3, "error"),
        (7, "error"),
    ]


@pytest.mark.parametrize(("strict", "code"), [((), 0), (("--strict",), 1)])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_warning_fails_only_when_strict(
    site: Site, strict: tuple[str, ...], code: int, form: tuple[str, ...]
) -> None:
    site.write(DOUBTFUL)
    result = site.run("check", *strict, *form)
    assert result.exit_code == code
    assert "warning" in result.stdout
    if form:
        assert json.loads(result.stdout)["ok"] is (code == 0)


def test_valid_file_says_what_it_has(site: Site) -> None:
    result = site.run("check", "--strict", env={"VENDOR_KEY": "x"})
    assert (result.exit_code, result.stdout) == (0, "")
    assert "valid: 1 upstream, 2 models, 2 plans" in result.stderr


def test_unset_secret_is_an_error(site: Site) -> None:
    result = site.run("check")
    assert result.exit_code == 1
    assert "VENDOR_KEY is not set" in result.stdout


def test_file_that_is_not_there_is_an_error(site: Site) -> None:
    site.config.unlink()
    result = site.run("check")
    assert result.exit_code == 1
    assert str(site.config) in result.stdout


def test_state_path_that_no_socket_fits_into_is_an_error(site: Site) -> None:
    site.write(f'[server]\nstate_dir = "/{"x" * 100}"\n')
    result = site.run("check")
    assert result.exit_code == 1
    assert "too long" in result.stdout
