"""An upstream that sends faster than we read leaves turns of the loop to everybody else."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvloop
from yarl import URL

from kurolproxy.upstream.address import Address
from kurolproxy.upstream.client import Call
from kurolproxy.upstream.direct import DirectClient

MIB = 1 << 20
SIZE = 24 * MIB


def flood(listener: socket.socket) -> None:
    """Answer one request with all at once."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
        connection.sendall(bytes(SIZE))


async def read(port: int) -> tuple[int, int]:
    """Read the answer; return its size and the most that came in one turn of the loop."""
    loop = asyncio.get_running_loop()
    client = DirectClient()
    total = now = most = 0

    def take(piece: bytes) -> bool:
        nonlocal total, now, most
        total += len(piece)
        now += len(piece)
        most = max(most, now)
        return True

    def turn() -> None:
        nonlocal now
        now = 0
        if total < SIZE:
            loop.call_soon(turn)

    address = Address.of(URL(f"http://127.0.0.1:{port}/v1"))
    answer = await client.send(Call(address, {}, b"{}"))
    turn()
    await answer.pipe(take)
    await client.close()
    return total, most


def test_flood_comes_in_pieces_of_one_read_each_turn() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=flood, args=(listener,))
        thread.start()
        # The loop that serves: asyncio's own reads once a turn anyway.
        total, most = uvloop.run(asyncio.wait_for(read(listener.getsockname()[1]), 30.0))
        thread.join()
    assert total == SIZE
    assert most <= MIB
