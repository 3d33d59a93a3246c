"""What ``serve`` refuses to run on: another's code, a slow parser, files that are not ours."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from kurolproxy.cli.selfcheck import check_installation, open_to_all, unknown_pth
from kurolproxy.storage.lock import StateError
from kurolproxy.storage.privacy import make_private
from tests.cli.sites import AS_ROOT, COMMAND, Site, end, finish

ROOT = Path(__file__).parents[2]


async def served(site: Site, **env: str) -> tuple[int, str]:
    """Run ``serve`` until it ends by itself; return exit code and stderr."""
    command = (*COMMAND, "--config", str(site.config), "serve", *AS_ROOT)
    code, _, err = await finish(*command, VENDOR_KEY="vendor-key", **env)
    return code, err


async def test_python_parser_of_aiohttp_is_refused(site: Site) -> None:
    code, err = await served(site, AIOHTTP_NO_EXTENSIONS="1")
    assert (code, "C parser" in err, "Traceback" in err) == (78, True, False)


@pytest.mark.parametrize(("verb", "expected"), [("serve", 78), ("status", 1)])
async def test_missing_module_is_named(verb: str, expected: int, site: Site) -> None:
    hidden = site.folder / "hidden"
    for name in ("httptools", "msgspec"):
        (hidden / name).mkdir(parents=True)
        text = f"raise ModuleNotFoundError(name={name!r})"
        (hidden / name / "__init__.py").write_text(text)
    path = os.pathsep.join([str(hidden), str(ROOT)])
    command = (*COMMAND, "--config", str(site.config), verb)
    code, _, err = await finish(*command, PYTHONPATH=path)
    assert (code, "Traceback" in err) == (expected, False)
    assert "is missing: install again" in err


async def test_folder_of_modules_that_everybody_may_write_to_is_refused(site: Site) -> None:
    shared = site.folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    path = os.pathsep.join([str(ROOT), str(shared)])
    code, err = await served(site, PYTHONPATH=path)
    assert (code, str(shared) in err, "PYTHONSAFEPATH=1" in err) == (78, True, True)


PTH = [
    ("only a path", "some.pth", "/somewhere\n# import os\n", False),
    ("code", "some.pth", "/somewhere\nimport os; os.getpid()\n", True),
    ("code behind a tab", "some.pth", "import\tos\n", True),
    ("of setuptools", "distutils-precedence.pth", "import os\n", False),
    ("of an editable install", "__editable__.kurolproxy-1.pth", "import os\n", False),
    ("vouched for", "mine.pth", "import os\n", False),
]


@pytest.mark.parametrize(
    ("name", "text", "found"), [each[1:] for each in PTH], ids=[each[0] for each in PTH]
)
def test_unknown_code_at_the_start_of_python_is_found(
    name: str, text: str, found: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert list(unknown_pth([tmp_path], ["mine.pth"])) == ([tmp_path / name] if found else [])


def test_this_installation_is_fine() -> None:
    check_installation()


@pytest.mark.parametrize(("mode", "found"), [(0o777, 1), (0o1777, 1), (0o775, 0), (0o700, 0)])
def test_only_folders_that_are_open_to_all_are_found(mode: int, found: int, tmp_path: Path) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    folder.chmod(mode)
    (tmp_path / "some.zip").touch(mode=0o666)
    entries = [str(folder), str(tmp_path / "missing"), str(tmp_path / "some.zip")]
    assert len(list(open_to_all(entries))) == found


# --- the state directory --------------------------------------------------------------------


async def test_files_of_the_state_directory_are_private_after_a_start(living: Site) -> None:
    journal = living.state_dir / "journal"
    journal.mkdir(exist_ok=True)
    for path in (living.state_dir / "lock", living.state_dir / "kurolproxy.db"):
        path.chmod(0o644)
    for path in (journal, living.state_dir):
        path.chmod(0o755)
    async with living.serving() as started:
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (living.state_dir, *living.state_dir.rglob("*"))
        }
        events = started.events()
        await end(started.process)
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}
    assert [each["files"] for each in events if each["event"] == "state_made_private"] == [
        ["lock", "kurolproxy.db", "journal"]
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_file_of_another_user_is_refused(living: Site) -> None:
    os.chown(living.state_dir / "kurolproxy.db", 12_345, 12_345)
    code, err = await served(living)
    assert (code, "belongs to user 12345" in err, "chown" in err) == (78, True, True)
    # As it was: it is not ours to change.
    assert (living.state_dir / "kurolproxy.db").stat().st_uid == 12_345


def test_link_to_somewhere_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kurolproxy.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="is a link"):
        make_private(tmp_path)


async def test_folder_that_is_a_link_itself_is_fine(living: Site) -> None:
    real = living.folder / "private"
    living.state_dir.rename(real)
    living.state_dir.symlink_to(real)
    async with living.serving() as started:
        assert await end(started.process) == 0
    assert await asyncio.to_thread(make_private, living.state_dir) == []
