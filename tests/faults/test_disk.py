"""A disk that is full or read-only: what runs ends well, and usage waits for better days."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.books import Books
from tests.faults.conftest import Tell
from tests.faults.load import Call, Load, kinds
from tests.faults.serving import PASSED, SLOW, TRANSLATED, Installation, Serving, rounds
from tests.faults.vendor import QuickVendor

RATE = 100
SECONDS = rounds(1.0, 65.0)
CASES = rounds(
    [("full", "fail-closed"), ("immutable", "fail-open")],
    [
        (trouble, policy)
        for trouble in ("full", "immutable")
        for policy in ("fail-closed", "fail-open")
    ],
)


@dataclass(slots=True)
class Full:
    """A small disk that another program fills.

    Args:
        folder: where it is mounted.
    """

    folder: Path

    def begin(self) -> None:
        """Leave no room for anything."""
        with (self.folder / "ballast").open("ab", buffering=0) as file:
            for size in (4_096, 64, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"x" * size)

    def end(self) -> None:
        """Make room again: the other program's, and some more for what waited meanwhile."""
        (self.folder / "ballast").unlink()
        _run("mount", "-o", "remount,size=64m", str(self.folder))


@dataclass(slots=True)
class Immutable:
    """A file system that takes no change of anything that is there, nor new files.

    Args:
        folder: with everything below it.
    """

    folder: Path

    def begin(self) -> None:
        """Forbid every change."""
        _run("chattr", "+i", *self._everything())

    def end(self) -> None:
        """Allow changes again."""
        _run("chattr", "-i", *self._everything())

    def _everything(self) -> list[str]:
        # Not the control socket, which has no such flag, nor SQLite's shared memory: a page of
        # a mapped file that cannot be written ends the process (SIGBUS), whoever maps it.
        below = [each for each in self.folder.rglob("*") if each.is_file() or each.is_dir()]
        kept = [each for each in below if not each.name.endswith("-shm")]
        return [str(each) for each in (self.folder, *kept)]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


Trouble = Full | Immutable


@pytest.fixture
def trouble(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trouble]:
    """Yield a disk and what befalls it; needs root, and file systems that can do it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "full":
        with mounted(folder, "400k"):
            yield Full(folder)
        return
    _try("chattr", "+i", str(folder))
    _run("chattr", "-i", str(folder))
    trouble = Immutable(folder)
    yield trouble
    trouble.end()


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """Mount a small disk of its own; skip the test where that is not allowed."""
    _try("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


def _try(*command: str) -> None:
    """Run a command that not every machine has or allows."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk or make files immutable")
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    try:
        _run(*command)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{command[0]} is not allowed here: {error.stderr.decode()}")


@dataclass(slots=True)
class Story:
    """Calls before, during and after the trouble."""

    served: Serving
    calls: list[Call] = field(default_factory=list)

    async def called(self, seconds: float, *models: str) -> Load:
        """Call for a while."""
        load = self.served.load(*models, rate=RATE)
        await load.run(seconds)
        self.calls += load.calls
        return load

    async def one(self) -> Call:
        """Make one call."""
        call = await self.served.call()
        self.calls.append(call)
        return call


@pytest.mark.parametrize(("trouble", "policy"), CASES, indirect=["trouble"])
async def test_ledger_that_cannot_be_written_follows_the_policy_and_recovers(
    policy: str, trouble: Trouble, vendor: QuickVendor, tmp_path: Path, tell: Tell
) -> None:
    site = Installation(tmp_path, state=trouble.folder / "state")
    site.configure(vendor.base_url, ledger=f'when_unwritable = "{policy}"')
    await asyncio.to_thread(site.people)
    async with site.serving() as served:
        story = Story(served)
        assert not (await story.called(0.2, PASSED, TRANSLATED)).failed
        slow = [served.call(each) for each in kinds(SLOW)]
        running = [asyncio.create_task(each) for each in slow]
        await asyncio.sleep(0.1)
        trouble.begin()
        began = asyncio.get_running_loop().time()
        try:
            during = await story.called(SECONDS, PASSED, TRANSLATED)
            in_flight = await asyncio.gather(*running)
            story.calls += in_flight
            found = await served.metrics()
            ready = await served.get("/readyz")
            last = await story.one()
        finally:
            trouble.end()
        back_s = await served.until("kurol_ledger_writable", 1)
        assert not (await story.called(0.2, PASSED, TRANSLATED)).failed
        await served.written()
        books = Books.open(site.database)
        # What was written since the disk is well again outlives the process.
        assert not (await story.called(0.3, PASSED)).failed
        await served.kill()
    refused = [each for each in during.calls if each.status == 503]
    first_s = min((each.began for each in refused), default=began) - began
    tell(
        f"{len(during.whole)} served and {len(refused)} refused, the first after {first_s:.2f} s; "
        f"writable again after {back_s:.2f} s"
    )
    assert all(each.ok for each in in_flight)
    assert found["kurol_ledger_writable"] == 0
    assert ready[0] == 503
    if policy == "fail-closed":
        assert (last.status, b"\r\nretry-after: " in last.head) == (503, True)
        assert first_s < 10
        assert len(during.whole) + len(refused) == len(during.calls)
    else:
        assert last.ok
        assert during.failed == []
    # At once, and then once a minute.
    assert said(site) == 1 + int(SECONDS // 60)
    books.check()
    async with site.serving() as served:
        await served.written()
        books = Books.open(site.database)
    books.check()
    assert books.lost(story.calls) == []
    admitted = sum(each.ok for each in story.calls)
    assert books.sums[0] == admitted


async def test_start_on_a_read_only_disk_is_refused_and_not_tried_again(
    vendor: QuickVendor, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    site = Installation(tmp_path, state=folder / "state")
    site.configure(vendor.base_url)
    with mounted(folder, "4m"):
        await asyncio.to_thread(site.people)
        _run("mount", "-o", "remount,ro", str(folder))
        code, text = await site.refused()
    # 78: the service manager leaves it at that.
    assert code == 78
    assert str(site.state_dir) in text
    assert "Read-only file system" in text
    assert "Traceback" not in text


async def test_start_on_a_full_disk_fails_so_that_it_is_tried_again(
    vendor: QuickVendor, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    site = Installation(tmp_path, state=folder / "state")
    site.configure(vendor.base_url)
    with mounted(folder, "4m"):
        await asyncio.to_thread(site.people)
        full = Full(folder)
        full.begin()
        code, text = await site.refused()
        full.end()
        async with site.serving() as served:
            answered = await served.call()
    # No 78: the service manager starts it again until there is room.
    assert code == 1
    assert str(site.state_dir) in text
    assert "Traceback" not in text
    assert answered.ok


def said(site: Installation) -> int:
    """Return how many lines said that usage cannot be written."""
    return sum(each.startswith("ERROR kurolproxy.storage") for each in site.errors.splitlines())
