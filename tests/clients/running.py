"""Programs of the clients' folder, each run in a home of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 180.0
"""What one run of a client may take; most take under ten seconds."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that ended, or was ended.

    Attributes:
        code: None: it was still running after ``LIMIT_S``.
    """

    code: int | None
    out: str
    err: str

    def __str__(self) -> str:
        return (
            f"exit code {self.code}\n--- stdout\n{self.out[-6000:]}\n--- stderr\n{self.err[-6000:]}"
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """Where one client works: its programs, its home, the folder of its task."""

    installed: Path
    home: Path
    work: Path

    @property
    def node(self) -> Path:
        """The folder of the installed Node."""
        return self.installed / "node_modules" / "node" / "bin"

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return an environment that holds nothing of the caller's shell."""
        return {
            "PATH": f"{self.node}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local" / "share"),
            "XDG_STATE_HOME": str(self.home / ".local" / "state"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "CI": "1",
            # Nothing listens there: what a client wants beyond loopback is refused at once.
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **more,
        }

    async def run(self, *command: str, env: Mapping[str, str] = {}) -> Ran:
        """Run one of the installed programs to its end, with all that it started."""
        program = self.installed / "node_modules" / ".bin" / command[0]
        return await self._run(str(program), *command[1:], env=env)

    async def type(self, script: str, *, env: Mapping[str, str] = {}) -> Ran:
        """Type commands into a shell that finds the installed programs."""
        programs = self.installed / "node_modules" / ".bin"
        path = f"{programs}:{self.environment({})['PATH']}"
        return await self._run("/bin/bash", "-c", script, env={"PATH": path, **env})

    async def _run(self, *command: str, env: Mapping[str, str]) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.work,
            env=self.environment(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            return await self._finish(process)
        finally:
            self._sweep()

    def _sweep(self) -> None:
        """End what the client left behind: Cline keeps a daemon, in a session of its own.

        Nobody else has this home, and it stands in the environment of all who have it.
        """
        mark = b"HOME=" + os.fsencode(self.home)
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)

    async def _finish(self, process: asyncio.subprocess.Process) -> Ran:
        told: list[bytes] = [b"", b""]

        async def read(number: int, stream: asyncio.StreamReader | None) -> None:
            assert stream is not None
            while data := await stream.read(65_536):
                told[number] += data

        readers = asyncio.gather(read(0, process.stdout), read(1, process.stderr))
        code: int | None = None
        try:
            code = await asyncio.wait_for(process.wait(), LIMIT_S)
            # A helper may hold the pipes open for longer than the client lives.
            await asyncio.wait_for(readers, 2.0)
        except TimeoutError:
            readers.cancel()
        return Ran(code, told[0].decode(errors="replace"), told[1].decode(errors="replace"))
