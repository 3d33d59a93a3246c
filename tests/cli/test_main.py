"""The table of verbs, what is loaded when, and where the configuration is looked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import kurolproxy
from kurolproxy import __version__
from kurolproxy.cli.main import VERBS, main
from kurolproxy.cli.site import config_path, local_url
from tests.cli.sites import LIMIT_S, Site

HEAVY = ("aiohttp", "aiosqlite", "argon2", "msgspec", "prometheus_client", "uvloop")


@pytest.mark.parametrize("args", [["--version"], ["--help"], ["users"], ["nonsense"]])
def test_web_server_is_not_imported_for(args: list[str]) -> None:
    script = (
        "import sys\n"
        "from kurolproxy.cli.main import main\n"
        "try:\n"
        f"    main({args!r}, prog_name='kurolproxy')\n"
        "finally:\n"
        "    print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT_S
    )
    loaded = set(done.stderr.split())
    assert "kurolproxy.cli.main" in loaded
    heavy = ("aiohttp", "uvloop", "prometheus_client") if args == ["users"] else HEAVY
    assert not loaded & set(heavy)


def test_version_is_the_package_s() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"kurolproxy {__version__}\n")


def test_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "kurolproxy", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout == f"kurolproxy {__version__}\n"


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_can_be_loaded_and_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"Usage: main {name}" in result.stdout


def test_help_names_every_verb_and_the_exit_codes() -> None:
    text = CliRunner().invoke(main, ["--help"]).stdout
    assert [name for name in VERBS if f"  {name} " not in text] == []
    assert "78" in text


@pytest.mark.parametrize("args", [["nonsense"], ["check", "--nonsense"], ["keys", "revoke"]])
def test_wrong_usage_exits_with_2(site: Site, args: list[str]) -> None:
    assert site.run(*args).exit_code == 2


# --- where the configuration is ---------------------------------------------------------


def test_configuration_of_the_option_is_taken(tmp_path: Path) -> None:
    assert config_path(tmp_path / "mine.toml") == tmp_path / "mine.toml"


def test_configuration_of_the_environment_is_taken(site: Site) -> None:
    result = CliRunner().invoke(main, ["plans", "--json"], env={"KUROL_CONFIG": str(site.config)})
    assert '"name": "team"' in result.stdout


def test_option_wins_over_the_environment(site: Site) -> None:
    assert site.run("plans", env={"KUROL_CONFIG": "/nowhere.toml"}).exit_code == 0


def _checkout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "kurolproxy").mkdir()
    monkeypatch.setattr(kurolproxy, "__file__", str(folder / "kurolproxy" / "__init__.py"))
    return folder / "config" / "kurolproxy.toml"


def test_checkout_has_its_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _checkout(tmp_path, monkeypatch)
    expected.parent.mkdir()
    expected.touch()
    assert config_path(None) == expected


def test_checkout_without_one_is_told_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _checkout(tmp_path, monkeypatch)
    (tmp_path / "setup.cfg").touch()
    monkeypatch.setattr("kurolproxy.cli.site._INSTALLED", tmp_path / "not-there.toml")
    assert config_path(None) == expected


def test_installed_package_looks_in_etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _checkout(tmp_path, monkeypatch)
    assert config_path(None) == Path("/etc/kurolproxy/kurolproxy.toml")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("0.0.0.0:9000", "http://127.0.0.1:9000"),
        ("[::]:9000", "http://[::1]:9000"),
        ("gateway.example:9000", "http://gateway.example:9000"),
        ("127.0.0.1:0", "http://127.0.0.1:8080"),
    ],
)
def test_gateway_of_this_machine_is_called_where_it_listens(
    site: Site, listen: str, url: str
) -> None:
    site.write(f'[server]\nlisten = "{listen}"\n')
    assert local_url(site.config) == url


def test_without_a_configuration_the_default_address_is_called(tmp_path: Path) -> None:
    assert local_url(tmp_path / "none.toml") == "http://127.0.0.1:8080"
