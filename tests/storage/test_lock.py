"""The state directory: one process at a time, and never root's by accident."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kurolproxy.storage.lock import StateDirectory, StateError, StateLocked, drop_root_to

HOLD = """
import sys
from pathlib import Path
from kurolproxy.storage.lock import StateDirectory
with StateDirectory(Path(sys.argv[1])).hold():
    print("held", flush=True)
    sys.stdin.read()
"""

# Prints whether it changed its user, and who owns what it then makes.
DROP = """
import os, sys
from pathlib import Path
from kurolproxy.storage.lock import StateDirectory, StateError, drop_root_to
path = Path(sys.argv[1])
try:
    print(drop_root_to(path), os.geteuid(), os.getegid(), os.getgroups())
except StateError as error:
    print(error)
    sys.exit(3)
with StateDirectory(path).hold():
    print((path / "lock").stat().st_uid)
try:
    os.setuid(0)
    print("root again")
except PermissionError:
    print("no way back")
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving up root needs root")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_directory_and_lock_are_for_their_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with StateDirectory(tmp_path / "a" / "state").hold():
            assert mode(tmp_path / "a" / "state") == 0o700
            assert mode(tmp_path / "a" / "state" / "lock") == 0o600
    finally:
        os.umask(old)


def test_open_directory_is_closed_to_others(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    with StateDirectory(state).hold():
        assert mode(state) == 0o700


def test_lock_holds_the_pid(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("99999999\n")
    with StateDirectory(tmp_path).hold():
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_second_process_is_refused_and_told_the_pid(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StateLocked, match=f"in use by process {other.pid}") as caught:
            StateDirectory(tmp_path).hold()
        assert caught.value.pid == other.pid
        # A killed process leaves its file and its pid, and holds nothing.
        other.kill()
        other.wait()
        with StateDirectory(tmp_path).hold(wait_s=10):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_waiting_ends_when_the_other_one_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert other.stdin is not None
        other.stdin.close()
        StateDirectory(tmp_path).hold(wait_s=30).release()


def test_released_directory_can_be_held_again(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.hold().release()
    state.release()
    with StateDirectory(tmp_path).hold(), pytest.raises(StateLocked):
        StateDirectory(tmp_path).hold()


def test_stale_text_in_the_lock_file_names_no_process(tmp_path: Path) -> None:
    with StateDirectory(tmp_path).hold():
        (tmp_path / "lock").write_text("not a pid")
        with pytest.raises(StateLocked, match="another process") as caught:
            StateDirectory(tmp_path).hold()
    assert caught.value.pid is None


@pytest.mark.parametrize("make", ["file", "link"])
def test_unusable_path_is_said(tmp_path: Path, make: str) -> None:
    state = tmp_path / "state"
    if make == "file":
        state.write_text("")
    else:
        state.mkdir()
        (state / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="cannot be used"):
        StateDirectory(state).hold()
    assert not (tmp_path / "elsewhere").exists()


def test_owner_of_the_directory_is_known(tmp_path: Path) -> None:
    assert StateDirectory(tmp_path).owner_uid == os.getuid()
    assert StateDirectory(tmp_path / "missing").owner_uid is None


def test_root_is_kept_for_a_missing_directory_and_for_its_own(tmp_path: Path) -> None:
    assert drop_root_to(tmp_path / "missing") is False
    assert drop_root_to(tmp_path) is False


@needs_root
def test_root_becomes_the_owner_and_leaves_no_file_of_its_own(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if mode(folder) & 0o077 == 0:
            folder.chmod(0o755)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 65_534, 65_533)
    done = run(DROP, state)
    expected = "True 65534 65533 [65533]\n65534\nno way back\n"
    assert (done.stdout, done.returncode) == (expected, 0)


@needs_root
def test_owner_who_cannot_reach_the_directory_is_said(tmp_path: Path) -> None:
    private = tmp_path / "private"
    state = private / "state"
    state.mkdir(parents=True)
    private.chmod(0o700)
    os.chown(state, 65_534, 65_534)
    done = run(DROP, state)
    assert done.returncode == 3
    assert "belongs to user 65534, who cannot reach it" in done.stdout
    assert list(state.iterdir()) == []
