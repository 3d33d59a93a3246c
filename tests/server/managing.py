"""Somebody who manages a gateway by its API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.conftest import Running

ROOT = "root@example.org"


@dataclass(slots=True)
class Told:
    """What was answered.

    Attributes:
        body: the JSON value; None: there is none.
        headers: by their names in lower case.
    """

    status: int
    body: Any
    headers: dict[str, str]
    text: str

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["error"]
        return found


@dataclass(slots=True)
class Manager:
    """A management key at work."""

    running: Running
    http: aiohttp.ClientSession
    key: str

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Told:
        """Send a request to a path below ``/api/v1``; ``body`` bytes: exactly these."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            named.setdefault("content-type", "application/json")
        named.setdefault("authorization", f"Bearer {self.key}")
        url = f"{self.running.base_url}/api/v1{path}"
        async with self.http.request(
            method, url, data=data, headers=named, allow_redirects=False
        ) as got:
            text = await got.text()
            low = {name.lower(): value for name, value in got.headers.items()}
            is_json = low.get("content-type") == "application/json" and text
            return Told(got.status, json.loads(text) if is_json else None, low, text)

    async def account(self, email: str = "ann@example.org", **fields: Any) -> dict[str, Any]:
        """Make an account and return it."""
        told = await self.send("POST", "/accounts", {"email": email, "plan": "default", **fields})
        assert told.status == 201, told.text
        made: dict[str, Any] = told.body
        return made

    async def new_key(self, account_id: int, **fields: Any) -> dict[str, Any]:
        """Make a key and return it, its secret too."""
        told = await self.send("POST", f"/accounts/{account_id}/keys", fields)
        assert told.status == 201, told.text
        made: dict[str, Any] = told.body
        return made


async def manager_of(running: Running, http: aiohttp.ClientSession) -> Manager:
    """Return the first admin of a gateway, with a management key."""
    accounts = running.gateway.accounts
    await accounts.create_account(ROOT, "default", role="admin")
    _, secret = await accounts.create_key(ROOT, admin=True)
    return Manager(running, http, secret)
