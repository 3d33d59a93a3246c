"""The units of systemd as they are installed: complete, closed up, and replacing nothing."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from kurolproxy.config.load import parse

ROOT = Path(__file__).parent.parent
TOOL = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(TOOL is None, reason="systemd-analyze is not installed")
EXPOSURE = 1.5


@dataclass(frozen=True, slots=True)
class Installed:
    """What ``make install`` leaves below a folder.

    Attributes:
        folder: where ``/`` would be.
    """

    folder: Path

    def make(self, target: str, *, umask: int = -1, **variables: str) -> str:
        """Run a target of the Makefile, also under another umask; return what it printed."""
        given = [f"{name}={value}" for name, value in variables.items()]
        command = ["make", target, f"DESTDIR={self.folder}", *given]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, umask=umask
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def config(self) -> Path:
        return self.folder / "etc/kurolproxy/kurolproxy.toml"

    @property
    def unit(self) -> Path:
        return self.folder / "etc/systemd/system/kurolproxy.service"

    def files(self) -> Mapping[str, int]:
        """Return the mode of each file and folder."""
        return {
            str(path.relative_to(self.folder)): stat.S_IMODE(path.stat().st_mode)
            for path in self.folder.rglob("*")
        }


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """Return an installation without the program itself."""
    made = Installed(tmp_path)
    made.make("install-files")
    return made


def test_files_are_where_they_belong_and_private(installed: Installed) -> None:
    files = installed.files()
    wanted = {
        "usr/local/bin/kurolproxy": 0o755,
        "etc/systemd/system/kurolproxy.service": 0o644,
        "etc/systemd/system/kurolproxy.socket": 0o644,
        "etc/sysusers.d/kurolproxy.conf": 0o644,
        "etc/kurolproxy/kurolproxy.toml": 0o640,
        "etc/kurolproxy/credentials": 0o700,
    }
    assert {name: files[name] for name in wanted} == wanted


# Stands for Python and for the one that it puts below the folder: notes who may read files.
NOTING = """#!/bin/sh
if [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    umask > "$3/umask"
else
    umask >> "$(dirname "$0")/../umask"
fi
"""


def test_program_may_be_read_by_the_service_whatever_roots_umask_is(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(NOTING)
    python.chmod(0o755)
    made = Installed(tmp_path / "root")
    made.make("install-program", umask=0o077, PYTHON=str(python))
    noted = tmp_path / "root/usr/local/lib/kurolproxy/umask"
    assert noted.read_text().split() == ["0022", "0022"]


def test_configuration_that_is_there_is_not_replaced(installed: Installed) -> None:
    installed.config.write_text("mine")
    installed.make("install-files")
    assert installed.config.read_text() == "mine"
    installed.make("uninstall")
    assert installed.config.read_text() == "mine"
    left = [name for name in installed.files() if not (installed.folder / name).is_dir()]
    assert left == ["etc/kurolproxy/kurolproxy.toml"]


def test_other_places_stand_in_the_units(tmp_path: Path) -> None:
    made = Installed(tmp_path)
    made.make("install-files", PREFIX="/opt/gateway", SYSCONFDIR="/srv/etc")
    text = (tmp_path / "srv/etc/systemd/system/kurolproxy.service").read_text()
    assert "ExecStart=/opt/gateway/lib/kurolproxy/bin/python -I -m kurolproxy" in text
    assert "--config /srv/etc/kurolproxy/kurolproxy.toml" in text
    assert "LoadCredential=vendor:/srv/etc/kurolproxy/credentials" in text
    wrapper = (tmp_path / "opt/gateway/bin/kurolproxy").read_text()
    assert (
        wrapper == '#!/bin/sh\nexec /opt/gateway/lib/kurolproxy/bin/python -I -m kurolproxy "$@"\n'
    )


@needs_systemd
def test_units_are_valid(installed: Installed) -> None:
    # The tool looks whether the program is there.
    text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", installed.unit.read_text())
    installed.unit.write_text(text)
    units = [installed.unit, installed.unit.with_suffix(".socket")]
    done = subprocess.run(
        [str(TOOL), "verify", *units], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "kurolproxy" in line]
    assert (done.returncode, said) == (0, [])


@needs_systemd
def test_service_is_closed_up(installed: Installed) -> None:
    command = [str(TOOL), "security", "--offline=true", "--no-pager", str(installed.unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"exposure level for kurolproxy.service: ([\d.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= EXPOSURE


def settings() -> dict[str, list[str]]:
    """Return the settings of the unit, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "systemd/kurolproxy.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_manager_waits_longer_than_the_drain() -> None:
    limit = parse("", "a.toml", {}).server.drain_timeout_s
    assert int(settings()["TimeoutStopSec"][0]) > limit + 5


WANTED = {
    "Type": ["notify"],
    "Restart": ["always"],
    "RestartSec": ["1"],
    "RestartPreventExitStatus": ["78"],
    "WatchdogSec": ["60"],
    "KillMode": ["mixed"],
    "DynamicUser": ["yes"],
    "StateDirectoryMode": ["0700"],
    "UMask": ["0077"],
    "ProtectSystem": ["strict"],
    "ProtectProc": ["invisible"],
    "ProcSubset": ["pid"],
    "PrivateUsers": ["yes"],
    "PrivateDevices": ["yes"],
    "PrivateTmp": ["yes"],
    "CapabilityBoundingSet": [""],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "MemoryDenyWriteExecute": ["yes"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX"],
    "RestrictNamespaces": ["yes"],
    "LockPersonality": ["yes"],
}


@pytest.mark.parametrize("name", WANTED)
def test_unit_says(name: str) -> None:
    assert settings()[name] == WANTED[name]


@pytest.mark.parametrize("name", ["LoadCredential", "MemoryMax", "LimitNOFILE", "StateDirectory"])
def test_unit_has(name: str) -> None:
    assert settings()[name]
