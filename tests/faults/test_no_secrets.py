"""Every fault and much misuse, then a search of everything that was written or answered."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from tests.fakes.answers import SECRET
from tests.fakes.faulty import FaultyUpstream, Thief
from tests.fakes.faulty_answers import TOKEN
from tests.faults.attacker import WRONG, Attacker
from tests.faults.conftest import Tell
from tests.faults.hostile import Cell, all_modes, configuration, every_cell, some_cells
from tests.faults.serving import Installation, Serving, rounds
from tests.server.families import request


async def _speak_with_keys(attacker: Attacker) -> list[bytes]:
    """Say keys wherever they do not belong; return all answers."""
    key, close = attacker.key, "Connection: close"
    bearer = f"Authorization: Bearer {key}"
    gets = [
        f"GET /v1/models?key={key} HTTP/1.1\r\nHost: x\r\n{close}\r\n\r\n",
        f"GET /v1/chat/completions?key={key} HTTP/1.1\r\nHost: x\r\n{close}\r\n\r\n",
        f"GET /v1/nothing?key={key} HTTP/1.1\r\nHost: x\r\n{close}\r\n\r\n",
        f"GET /v1/models HTTP/1.1\r\nHost: x\r\n{bearer}\r\n{bearer}\r\n{close}\r\n\r\n",
        f"GET /v1/models HTTP/1.1\r\nHost: x\r\n{bearer}\r\nbroken\r\n\r\n",
        f"GET /v1/models HTTP/1.1\r\nHost: x\r\n{bearer}\r\nX: {'y' * 9_000}\r\n\r\n",
        f"GET /v1/models HTTP/1.1\r\n{bearer} : \x00\r\n\r\n",
        f"{bearer}\r\n\r\n",
        f"TRACE / HTTP/1.1\r\nHost: x\r\n{bearer}\r\n{close}\r\n\r\n",
        f"GET /metrics HTTP/1.1\r\nHost: x\r\n{bearer}\r\n{close}\r\n\r\n",
        f"GET /v1/usage HTTP/1.1\r\nHost: x\r\n{bearer}\r\n{close}\r\n\r\n",
        f"GET /v1/models/x HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n{bearer}\r\n{close}\r\n\r\n",
    ]
    bodies = [b"{", b"\xff", b"[" * 100_000, b'{"model": "x", "model": "y"}', b"{}"]
    posts = [attacker.post(f"Content-Length: {len(body)}", close) + body for body in bodies]
    wrong = [attacker.post("Content-Length: 2", close, key=WRONG) + b"{}"] * 40
    return [await attacker.talk(each) for each in (*(g.encode() for g in gets), *posts, *wrong)]


def _command_line(pid: int) -> bytes:
    """Return what ``ps`` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _written(folder: Path, secrets: dict[str, str]) -> dict[str, list[str]]:
    """Return where in the files of an installation a secret stands, but for its own file."""
    files = [each for each in folder.rglob("*") if each.is_file() and each.suffix != ".toml"]
    texts = {str(each.relative_to(folder)): each.read_bytes() for each in files}
    # The log, the errors and the database were looked into.
    assert {"log", "errors", "state/kurolproxy.db"} <= set(texts)
    return {
        name: [where for where, text in texts.items() if secret.encode() in text]
        for name, secret in secrets.items()
    }


async def test_no_secret_stands_in_anything_that_is_written_or_answered(
    tmp_path: Path, tell: Tell
) -> None:
    site = Installation(tmp_path)
    async with Thief() as thief:
        table = all_modes(thief)
        names = [name for name, mode in table.items() if not mode.large]
        turns = enumerate(names)
        cells = [
            cell
            for turn, name in turns
            for cell in rounds(some_cells(name, turn)[:1], every_cell(name))
        ]
        scripts = {name: mode.script for name, mode in table.items()}
        async with FaultyUpstream(scripts) as vendor:
            text = configuration(cells, table, vendor.base_url, site.state_dir, proxied=False)
            site.config.write_text(text)
            site.config.chmod(0o600)
            await asyncio.to_thread(site.account, plan="default")
            made = await asyncio.to_thread(site.key)
            site.secret = str(made["key"])
            async with site.serving() as served:
                answers = await _call_all(served, site.secret, cells)
                attacker = Attacker(served, site.secret)
                answers += await _speak_with_keys(attacker)
                answers.append((await served.get(served.metrics_url))[1].encode())
                answers.append(json.dumps(await asyncio.to_thread(site.json, "status")).encode())
                answers.append(_command_line(served.process.pid))
                await served.written()
                secrets = {
                    "the user's key": site.secret,
                    "a wrong key": WRONG,
                    "the upstream's secret": SECRET,
                    "the same in small letters": SECRET.lower(),
                    "a token in an upstream's text": TOKEN,
                }
                living = _written(tmp_path, secrets)
                assert await served.stop() == 0
        assert thief.caught == 0
    dead = _written(tmp_path, secrets)
    answered = {
        name: [each for each in answers if secret.encode() in each]
        for name, secret in secrets.items()
    }
    found = sum(map(len, (*answered.values(), *living.values(), *dead.values())))
    tell(
        f"{len(cells)} failing calls, {len(answers)} answers, {len(secrets)} secrets: {found} found"
    )
    nowhere: dict[str, list[str]] = {name: [] for name in secrets}
    assert answered == nowhere
    assert living == dead == nowhere


async def _call_all(served: Serving, key: str, cells: list[Cell]) -> list[bytes]:
    """Make the call of every cell, some at once; return heads and bodies."""
    dice = random.Random(len(cells))
    order = dice.sample(cells, len(cells))
    gate = asyncio.Semaphore(32)

    async def call(cell: Cell) -> bytes:
        path, body = request(cell.client, cell.model, stream=cell.stream)
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        head += f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        async with gate:
            return await Attacker(served, key).talk(head.encode() + data)

    return list(await asyncio.gather(*(call(each) for each in order)))
