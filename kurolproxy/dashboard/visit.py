"""One request of a browser, and all that a page needs to answer it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from aiohttp.web import BaseRequest

from kurolproxy.dashboard import answers, guard
from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.desk import Desk, Site
from kurolproxy.dashboard.rendering import Renderer
from kurolproxy.policy.admission import Caller
from kurolproxy.policy.keys import Account, session_key
from kurolproxy.policy.sessions import Session
from kurolproxy.storage.people import By

_LONGEST_FORM: Final = 65_536
_FORM_S: Final = 10.0
_MOST_FIELDS: Final = 200


class Visit:
    """One request, who makes it, and the ways to answer.

    Args:
        token: what the browser's cookie holds; of a visitor who is not logged in, too.

    Attributes:
        token: likewise; a page that shows the first form to a visitor makes one.
        params: what the path's pattern names.
        form: the fields of a POST; of several of one name the last.
        session: None: nobody is logged in.
        route: the pattern of the path, for logs.
    """

    def __init__(
        self, desk: Desk, renderer: Renderer, request: BaseRequest, token: str, route: str = ""
    ) -> None:
        self.desk = desk
        self.request = request
        self.token = token
        self.route = route
        self.site: Site = desk.site()
        self.params: Mapping[str, str] = {}
        self.form: Mapping[str, str] = {}
        self.session: Session | None = None
        self._account: Account | None = None
        self._renderer = renderer

    # --- who ------------------------------------------------------------------------

    def enter(self, session: Session, account: Account) -> None:
        """Take note of who is logged in."""
        self.session = session
        self._account = account

    def leave(self) -> None:
        """Take note that nobody is."""
        self.session = self._account = None

    @property
    def known(self) -> bool:
        """Whether somebody is logged in."""
        return self._account is not None

    @property
    def account(self) -> Account:
        """Who is logged in; routes that need an account are not called without one."""
        assert self._account is not None
        return self._account

    @property
    def caller(self) -> Caller:
        """Who is logged in, for the admission."""
        return Caller(session_key(self.account.id), self.account)

    @property
    def own(self) -> By:
        """On whose behalf people's verbs run: his own, and nothing of anybody else's."""
        return By(self.account.email, self.account.id)

    @property
    def as_admin(self) -> By:
        """On whose behalf an admin's verbs run: about anybody."""
        assert self.account.role == "admin"
        return By(self.account.email)

    # --- what was asked ---------------------------------------------------------------

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters behind the path's question mark."""
        return self.request.query

    @property
    def partial(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return self.request.headers.get("hx-request") == "true"

    async def read_form(self) -> None:
        """Read the fields of a POST.

        Raises:
            PageError: it is no form, too long, or it takes too long.
        """
        if self.request.content_type != "application/x-www-form-urlencoded":
            raise PageError(415, "form")
        if (self.request.content_length or 0) > _LONGEST_FORM:
            raise PageError(413, "too-long")
        try:
            async with asyncio.timeout(_FORM_S):
                body = await self._body()
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except TimeoutError as error:
            raise PageError(408, "too-slow") from error
        except ValueError as error:
            raise PageError(400, "form") from error
        self.form = dict(pairs)

    async def _body(self) -> bytes:
        body = bytearray()
        async for piece in self.request.content.iter_any():
            body += piece
            if len(body) > _LONGEST_FORM:
                raise PageError(413, "too-long")
        return bytes(body)

    # --- answers ----------------------------------------------------------------------

    def gettext(self, text: str) -> str:
        """Return a text in the reader's language."""
        return self._renderer.gettext(text)

    def sentence(self, error: Exception) -> str:
        """Return what an error says as a sentence, in the reader's language."""
        text = str(error)
        # An address at its beginning stays as it is written.
        first = text[:1] if "@" in text.partition(" ")[0] else text[:1].upper()
        return self.gettext(f"{first}{text[1:]}.")

    def render(
        self, template: str, *, block: str | None = None, status: int = 200, **values: Any
    ) -> web.Response:
        """Return a page.

        Args:
            template: its name below ``templates/``.
            block: only this block of it, for htmx.
            values: what the template names.
        """
        values |= {
            "visit": self,
            "site": self.site,
            "account": self._account,
            "csrf": guard.padded(guard.csrf_of(self.token)) if self.token else "",
            "theme": self.theme,
            "path": self.request.path,
            "version": self.desk.version,
        }
        return answers.html(self._renderer.render(template, values, block), status)

    def without_cookies(self) -> web.Response:
        """Say why a browser that was given a cookie did not bring it back."""
        named = guard.named_by(self.request, self.site)
        return self.render("cookies.html", status=403, named=named)

    @property
    def theme(self) -> str:
        """``light``, ``dark``, or "": as the system has it."""
        chosen = self.request.cookies.get("kurol-theme", "")
        return chosen if chosen in ("light", "dark") else ""

    def redirect(self, path: str, **query: str) -> web.Response:
        """Send the browser to another page of ours, with some parameters."""
        return answers.redirect(f"{path}?{urlencode(query)}" if query else path)
