"""The management API: accounts, keys and usage, for management keys of admins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec
from aiohttp.web import BaseRequest, StreamResponse

from kurolproxy.errors import (
    Conflicting,
    GatewayError,
    Internal,
    MethodNotAllowed,
    Overloaded,
    ResourceNotFound,
    RouteNotFound,
    Unprocessable,
)
from kurolproxy.policy.admission import Caller
from kurolproxy.policy.keys import KeyTable
from kurolproxy.protocols.openai_errors import error_words
from kurolproxy.server.api_models import Error, ErrorDetail, Problem
from kurolproxy.server.credential import managing
from kurolproxy.server.headers import error_headers
from kurolproxy.server.log import printable
from kurolproxy.server.manage_operations import (
    OPERATIONS,
    PREFIX,
    Answered,
    Asked,
    Desk,
    Operation,
)
from kurolproxy.server.manage_reading import body_of, query_of
from kurolproxy.server.peer import client_address
from kurolproxy.server.reply import Headers, Written, whole
from kurolproxy.server.state import State
from kurolproxy.storage.errors import (
    Conflict,
    DatabaseBusy,
    DatabaseUnwritable,
    Limit,
    NotFound,
    QueryTooLong,
    StorageError,
    StoreError,
)
from kurolproxy.storage.people import By

_JSON: Final = ("content-type", "application/json")
_SHOWN: Final = 200
_PASSING: Final = (DatabaseBusy, DatabaseUnwritable, QueryTooLong)
_RETRY_S: Final = 5.0


class Management:
    """Answers the paths below ``/api/v1``.

    Args:
        keys: in memory; whose account is an admin's may manage.
    """

    def __init__(self, state: State, desk: Desk, keys: KeyTable) -> None:
        self._state = state
        self._desk = desk
        self._keys = keys
        self._routes: list[tuple[re.Pattern[str], dict[str, Operation]]] = []
        for operation in OPERATIONS:
            self._methods(operation.path)[operation.method] = operation

    def _methods(self, path: str) -> dict[str, Operation]:
        """Return the operations of a path, to which one can be added."""
        # What names a model may hold slashes: a client need not encode them.
        pattern = re.escape(PREFIX + path).replace(r"\{model_id\}", "(?P<model_id>.+)")
        compiled = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern))
        for known, methods in self._routes:
            if known.pattern == compiled.pattern:
                return methods
        self._routes.append((compiled, {}))
        return self._routes[-1][1]

    async def dispatch(self, request: BaseRequest) -> StreamResponse:
        """Answer one request."""
        story = _Story(self._state, request)
        try:
            answer = await self._answer(story)
        except GatewayError as error:
            return story.refuse(error)
        except StoreError as error:
            return story.refuse(_refusal(error))
        except StorageError as error:
            return story.refuse(_failure(error))
        if isinstance(answer, Written):
            story.book(answer.status)
            return answer
        assert story.operation is not None
        return story.succeed(story.operation.status, answer)

    async def _answer(self, story: _Story) -> Answered | Written:
        request = story.request
        story.operation, params = self._find(request)
        operation = story.operation
        story.caller = managing(self._state, request, self._keys)
        query = query_of(request, operation.query)
        body = None
        if operation.body is not None:
            body = await body_of(self._state, request, operation.body)
            # A body may have taken long: who was an admin need not be one any more.
            story.caller = managing(self._state, request, self._keys)
        key, account = story.caller.key, story.caller.account
        by = By(f"{account.email} ({key.id})")
        return await operation.work(
            Asked(self._desk, request, by, params, query, body, story.headers())
        )

    def _find(self, request: BaseRequest) -> tuple[Operation, Mapping[str, str]]:
        """Return the operation that is meant, and what its path names.

        Raises:
            RouteNotFound, MethodNotAllowed: there is none.
        """
        path = request.rel_url.raw_path.rstrip("/")
        for pattern, methods in self._routes:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            operation = methods.get("GET" if request.method == "HEAD" else request.method)
            if operation is None:
                allow = (*methods, *(["HEAD"] if "GET" in methods else []))
                raise MethodNotAllowed(
                    f"{_shown(request)} does not take {request.method[:20]}; it takes"
                    f" {' and '.join(allow)}.",
                    allow=allow,
                )
            return operation, {name: unquote(text) for name, text in found.groupdict().items()}
        raise RouteNotFound(f"There is no route {_shown(request)}: /docs lists those of {PREFIX}.")


class _Story:
    """One request from its first line to its log line.

    Attributes:
        operation: once it is known.
        caller: who manages, once that is known.
    """

    def __init__(self, state: State, request: BaseRequest) -> None:
        self.request = request
        self.operation: Operation | None = None
        self.caller: Caller | None = None
        self._state = state
        self._id = state.ids.request()
        self._began = state.clock.now()

    def headers(self) -> Headers:
        """Return what every answer carries: it may hold a secret, and nobody is to keep it."""
        return [
            ("x-request-id", self._id),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ]

    def succeed(self, status: int, answer: Answered) -> Written:
        """Write the answer of an operation."""
        headers = self.headers()
        if answer.location is not None:
            headers.append(("location", answer.location))
        body = b""
        if answer.body is not None:
            headers.append(_JSON)
            body = msgspec.json.encode(answer.body)
        self.book(status)
        unread = not self.request.content.at_eof()
        return whole(self.request, status, headers, body, close=unread)

    def refuse(self, error: GatewayError) -> Written:
        """Write an error."""
        headers = [*self.headers(), _JSON, *error_headers(error)]
        if error.status == 401:
            headers.append(("www-authenticate", "Bearer"))
        self._state.metrics.rejections.add((error.kind,))
        self.book(error.status, error.kind)
        unread = not self.request.content.at_eof()
        return whole(self.request, error.status, headers, error_body(error), close=unread)

    def book(self, status: int, kind: str | None = None) -> None:
        """Log the request: no value of it but for the ids in its path."""
        state, request, caller = self._state, self.request, self.caller
        if not state.log.wants(error=kind is not None):
            return
        proxies = state.setup.settings.trusted_proxies
        fields = {
            "request_id": self._id,
            "endpoint": _shown(request),
            "method": request.method,
            "remote": client_address(request, proxies),
            "key": None if caller is None else caller.key.id,
            "account": None if caller is None else caller.account.id,
            "status": status,
            "outcome": kind or "managed",
            "duration_ms": round((state.clock.now() - self._began) * 1000, 1),
        }
        state.log.request(state.clock.unix(), fields)


def error_body(error: GatewayError) -> bytes:
    """Return the body of an error: OpenAI's, and of a 422 each field at fault."""
    words = error_words(error)
    detail = ErrorDetail(
        message=msgspec.json.decode(words.message),
        type=msgspec.json.decode(words.type),
        param=msgspec.json.decode(words.param),
        code=msgspec.json.decode(words.code),
    )
    if isinstance(error, Unprocessable):
        problems = [Problem(param=name or None, message=text) for name, text in error.problems]
        detail = msgspec.structs.replace(detail, problems=problems)
    return msgspec.json.encode(Error(error=detail))


def _refusal(error: StoreError) -> GatewayError:
    """Return the error of the API for a change that was refused."""
    text = str(error)
    # A text may begin with an email, which stays as it is written.
    plain = text.partition(" ")[0].isalpha()
    sentence = f"{text[:1].upper()}{text[1:]}." if plain else f"{text}."
    if isinstance(error, NotFound):
        return ResourceNotFound(sentence, param=error.field or None)
    if isinstance(error, Conflict | Limit):
        return Conflicting(sentence, param=error.field or None)
    return Unprocessable([(error.field, text)])


def _failure(error: StorageError) -> GatewayError:
    """Return the error of the API for a database that did not do it."""
    if isinstance(error, _PASSING):
        return Overloaded(
            "The database of the gateway does not answer now; try again.", retry_after_s=_RETRY_S
        )
    return Internal(
        "The database of the gateway failed. Its operator finds the cause with `kurolproxy doctor`."
    )


def _shown(request: BaseRequest) -> str:
    return printable(request.path, _SHOWN) or ""
