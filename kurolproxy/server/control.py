"""The control socket: how the command line talks to a gateway that runs.

A unix socket in the state directory. Each line is one JSON object: a request
``{"verb": "keys.revoke", "args": {...}}`` is answered by ``{"ok": true, "result": ...}`` or
``{"ok": false, "kind": ..., "message": ...}``, in the order of the requests. White space may
come before an answer while it is made. A connection that ends without a line feed was cut.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kurolproxy.policy.catalog import Catalog
from kurolproxy.server.facts import Pieces, model_facts, plan_facts
from kurolproxy.storage.errors import StorageError, StoreError
from kurolproxy.storage.people import People

SOCKET_NAME: Final = "control.sock"
MAX_LINE_BYTES: Final = 65_536
"""The longest request; an answer may be longer."""

# No longer than the name it gets, or its path would not fit where that one just does.
_NEW_NAME: Final = "control.new"
_IDLE_S: Final = 60.0
# What the requests that run get to end when the gateway stops: a report may take longer,
# and is given up then.
_STOP_S: Final = 10.0
_BACKLOG: Final = 16


class SocketInUse(Exception):
    """A living process listens at the path."""


class _Refused(Exception):
    """A request that makes no sense.

    Args:
        kind: what the answer's ``kind`` says.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Books:
    """What the control socket asks of the ledger.

    Attributes:
        flush: (nothing) -> whether all rows of before are in the database now.
        paused: a context in which no row is imported; several may be open at once.
        pending: (nothing) -> how many rows are not in the database yet.
    """

    flush: Callable[[], Awaitable[bool]]
    paused: Callable[[], AbstractAsyncContextManager[None]]
    pending: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the control socket asks of the gateway.

    Attributes:
        status: what runs, as JSON values.
        usage: (arguments of ``usage.report``) -> the report, as ``facts.usage_facts`` has it.
        catalog: the one in use.
        end_calls: (key id) -> how many running calls of the key were told to end.
        books: the ledger; None: there is none to flush or to pause.
        explain: (arguments of ``explain``) -> what would become of a call.
        reload: (nothing) -> what became of the configuration that was read again: ``ok``, and
            ``problems``, or ``needs_restart``, ``warnings`` and ``models``; None: there is no
            file to read.
    """

    status: Callable[[], Mapping[str, Any]]
    usage: Callable[[Mapping[str, Any]], Awaitable[Pieces]]
    catalog: Callable[[], Catalog]
    end_calls: Callable[[str], int]
    books: Books | None = None
    explain: Callable[[Mapping[str, Any]], Awaitable[Any]] | None = None
    reload: Callable[[], Awaitable[Mapping[str, Any]]] | None = None


class ControlServer:
    """Serves the control socket to the owner of the state directory and to root.

    Args:
        state_dir: exists and is locked by this process.

    Attributes:
        patience_s: what the requests that run get to end when the server stops.
    """

    def __init__(self, state_dir: Path, people: People, desk: Desk) -> None:
        self._path = state_dir / SOCKET_NAME
        self._people = people
        self._desk = desk
        self._allowed = {0, state_dir.stat().st_uid}
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._inode = 0
        self.patience_s = _STOP_S
        self._own: Mapping[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "status": self._status,
            "models.list": self._models,
            "plans.list": self._plans,
            "usage.report": self._usage,
            "keys.revoke": self._revoke,
            "explain": self._explain,
            "ledger.flush": self._flush,
            "reload": self._reload,
        }

    async def start(self) -> None:
        """Listen.

        Raises:
            SocketInUse: another process does, at this very path.
            OSError: the socket cannot be made.
        """
        if await asyncio.to_thread(_answers, self._path):
            raise SocketInUse(f"another process listens at {self._path}")
        listening = _bind(self._path)
        self._inode = self._path.stat().st_ino
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listening, limit=MAX_LINE_BYTES
        )

    async def stop(self) -> None:
        """Finish the requests that run, then close; the socket file goes if it is still ours."""
        if self._server is None:
            return
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)
        self._server = None

    # --- one connection -----------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            allowed = peer_uid(writer.get_extra_info("socket")) in self._allowed
            await self._talk(reader, writer, allowed=allowed)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            # Gone, silent for too long, or we are stopping: there is nobody to tell. This is
            # a task's end: Python 3.11 logs a handler that ends cancelled as a fault.
            return
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self._talks.discard(talk)

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, allowed: bool
    ) -> None:
        # What was asked for as long as the connection lasts ends with it, however it ends.
        async with AsyncExitStack() as leases:
            await self._requests(reader, writer, leases, allowed=allowed)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        leases: AsyncExitStack,
        *,
        allowed: bool,
    ) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), _IDLE_S)
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                message = f"a request has at most {MAX_LINE_BYTES} bytes"
                await _Answer(writer).fault("too_long", message)
                return
            if not allowed:
                message = "only the owner of the state directory and root are served"
                await _Answer(writer).fault("forbidden", message)
                return
            # Shielded: what was begun is done and answered before we stop.
            await self._finish(self._answer(writer, line, leases))

    async def _finish(self, work: Awaitable[None]) -> None:
        """Wait for ``work`` to its end; when we are cancelled meanwhile, for a while."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            _, running = await asyncio.wait({task}, timeout=self.patience_s)
            for each in running:
                each.cancel()
            await asyncio.wait({task})
            raise

    async def _answer(
        self, writer: asyncio.StreamWriter, line: bytes, leases: AsyncExitStack
    ) -> None:
        """Carry out one request and write what it is answered."""
        answer = _Answer(writer)
        try:
            verb, args = _request(line)
            await answer.result(await self._carry_out(verb, args, leases))
        except (ConnectionError, TimeoutError):
            # Nobody reads the answer.
            raise
        except _Refused as error:
            await answer.fault(error.kind, str(error))
        except (StoreError, StorageError) as error:
            await answer.fault(_kind(error), str(error))
        except Exception as error:  # the outermost boundary of a request
            logging.getLogger(__name__).exception("a control request failed")
            await answer.fault("internal", f"the gateway failed: {type(error).__name__}")

    async def _carry_out(self, verb: str, args: dict[str, Any], leases: AsyncExitStack) -> Any:
        if verb == "ledger.pause":
            return await self._pause(args, leases)
        own = self._own.get(verb)
        return await (own(args) if own else self._people.call(verb, args))

    # --- the verbs that are not about people --------------------------------------

    async def _status(self, args: dict[str, Any]) -> Any:
        _none(args)
        return dict(self._desk.status())

    async def _models(self, args: dict[str, Any]) -> Any:
        _none(args)
        return model_facts(self._desk.catalog())

    async def _plans(self, args: dict[str, Any]) -> Any:
        _none(args)
        return plan_facts(self._desk.catalog())

    async def _usage(self, args: dict[str, Any]) -> Any:
        return await self._desk.usage(args)

    async def _explain(self, args: dict[str, Any]) -> Any:
        if self._desk.explain is None:
            raise _Refused("unavailable", "this gateway explains nothing")
        return await self._desk.explain(args)

    async def _reload(self, args: dict[str, Any]) -> Any:
        _none(args)
        if self._desk.reload is None:
            raise _Refused("unavailable", "this gateway has no configuration file to read again")
        return dict(await self._desk.reload())

    async def _revoke(self, args: dict[str, Any]) -> Any:
        now = args.pop("now", False)
        result = await self._people.call("keys.revoke", args)
        return {**result, "ended_calls": self._desk.end_calls(result["id"]) if now else 0}

    async def _flush(self, args: dict[str, Any]) -> Any:
        """Import what was answered so far; ``missing``: rows that the disk does not take."""
        _none(args)
        books = self._books()
        return {"missing": 0 if await books.flush() else books.pending()}

    async def _pause(self, args: dict[str, Any], leases: AsyncExitStack) -> Any:
        """Flush, then import nothing as long as this connection lasts: a file is copied.

        Whoever asked has to ask something now and then: a silent connection is closed.
        """
        flushed = await self._flush(args)
        await leases.enter_async_context(self._books().paused())
        return flushed

    def _books(self) -> Books:
        if self._desk.books is None:
            raise _Refused("unavailable", "this gateway has no ledger at hand")
        return self._desk.books


class _Answer:
    """The answer to one request; a reader who stands still for too long is given up."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._begun = False

    async def result(self, result: Any) -> None:
        """Write that it was done."""
        if not isinstance(result, Pieces):
            await self._write(json.dumps({"ok": True, "result": result}).encode() + b"\n")
            return
        async with result.opened() as pieces:
            async for piece in pieces:
                if not self._begun and not piece.isspace():
                    self._begun = True
                    self._writer.write(b'{"ok": true, "result": ')
                await self._write(piece)
        await self._write(b"}\n")

    async def fault(self, kind: str, message: str) -> None:
        """Write that it was not done.

        Raises:
            ConnectionAbortedError: half a result is out: all that is left is to cut it.
        """
        if self._begun:
            logging.getLogger(__name__).error("an answer was cut short: %s", message)
            raise ConnectionAbortedError(message)
        fault = {"ok": False, "kind": kind, "message": message}
        await self._write(json.dumps(fault).encode() + b"\n")

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await asyncio.wait_for(self._writer.drain(), _IDLE_S)


def peer_uid(connection: socket.socket) -> int:
    """Return the user at the other end of a unix socket, as the kernel knows it."""
    # A transport shows a stand-in for its socket, which lacks some methods: take a copy.
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        if hasattr(socket, "SO_PEERCRED"):
            data = copy.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", data)[1])
        # macOS: SOL_LOCAL 0, LOCAL_PEERCRED 1, a struct xucred: version, then the user.
        data = copy.getsockopt(0, 1, struct.calcsize("2I"))
        return int(struct.unpack("2I", data)[1])


def _answers(path: Path) -> bool:
    """Return whether a living process listens at a path."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (BlockingIOError, TimeoutError):
            return True
    return True


def _bind(path: Path) -> socket.socket:
    """Make a listening socket at a path, private before anybody can reach it.

    It is bound under another name and moved into place, which also replaces the file of a
    dead process.
    """
    new = path.with_name(_NEW_NAME)
    new.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.setblocking(False)
        listening.bind(str(new))
        new.chmod(0o600)
        listening.listen(_BACKLOG)
        new.rename(path)
    except OSError:
        listening.close()
        raise
    return listening


def _request(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Refused("malformed", "a request is one JSON object on one line") from error
    if not isinstance(value, dict) or not isinstance(value.get("verb"), str):
        raise _Refused("malformed", 'a request is {"verb": "...", "args": {...}}')
    args = value.get("args", {})
    if not isinstance(args, dict):
        raise _Refused("malformed", "args is an object")
    return value["verb"], args


def _none(args: Mapping[str, Any]) -> None:
    if args:
        raise _Refused("invalid", "this verb takes no arguments")


def _kind(error: Exception) -> str:
    """Return the class name of an error as a word of the wire: ``NotFound``: ``not_found``."""
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
