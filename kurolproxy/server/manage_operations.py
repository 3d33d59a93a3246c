"""What the management API can do: one table for those who answer and for its document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from aiohttp.web import BaseRequest
from msgspec import UNSET

from kurolproxy.errors import Conflicting, GatewayError, ResourceNotFound, Unprocessable
from kurolproxy.policy.catalog import Catalog
from kurolproxy.server.api_models import (
    Account,
    AccountList,
    AccountPatch,
    AccountsQuery,
    Key,
    KeyList,
    KeysQuery,
    KeyWithSecret,
    Model,
    ModelList,
    NewAccount,
    NewKey,
    NoQuery,
    Plan,
    PlanList,
    RevokeQuery,
    UsageQuery,
    UsageReport,
)
from kurolproxy.server.facts import model_facts, plan_facts
from kurolproxy.server.manage_usage import answer_usage
from kurolproxy.server.reply import Headers, Written
from kurolproxy.storage.people import By, People
from kurolproxy.storage.reports import UsageReader

PREFIX: Final = "/api/v1"
Method = Literal["GET", "POST", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the management API asks of the gateway.

    Attributes:
        flush: (nothing) -> whether all usage of before is in the database now.
        pending: (nothing) -> how many rows are not.
        end_calls: (key id) -> how many running calls of the key were told to end.
    """

    people: People
    reader: UsageReader
    catalog: Callable[[], Catalog]
    flush: Callable[[], Awaitable[bool]]
    pending: Callable[[], int]
    end_calls: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as its operation gets it.

    Attributes:
        by: on whose behalf.
        params: what the path names.
        query: of the operation's structure; so is ``body``.
        headers: of an answer that the operation writes itself.
    """

    desk: Desk
    request: BaseRequest
    by: By
    params: Mapping[str, str]
    query: Any
    body: Any
    headers: Headers

    async def call(self, verb: str, **args: Any) -> Any:
        """Carry out a verb about people."""
        return await self.desk.people.call(verb, args, self.by)

    @property
    def account_id(self) -> int:
        """The account that the path names.

        Raises:
            ResourceNotFound: it is no number that an account can have.
        """
        text = self.params["account_id"]
        # "007" would be a second name of the same thing.
        if not (text.isascii() and text.isdigit() and len(text) < 16) or text.startswith("0"):
            raise ResourceNotFound(f"There is no account {text[:60]}.")
        return int(text)


@dataclass(frozen=True, slots=True)
class Answered:
    """What an operation answers.

    Attributes:
        location: path of what was made.
    """

    body: msgspec.Struct | None = None
    location: str | None = None


Work = Callable[[Asked], Awaitable[Answered | Written]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        path: below ``PREFIX``, with ``{name}`` for what it names.
        id: its name in the document.
        summary: what it does, in a line.
        status: of its answer, when nothing is wrong.
        answer: the structure of its answer's body; None: it has none.
        query: the structure of its parameters.
        body: the structure of its request's body; None: it takes none.
        errors: what can be wrong, beside what can be wrong with every request.
        notes: more to know of it.
    """

    method: Method
    path: str
    id: str
    summary: str
    work: Work
    answer: type[msgspec.Struct] | None
    status: int = 200
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    errors: tuple[type[GatewayError], ...] = field(default=())
    notes: str = ""


# --- accounts ---------------------------------------------------------------------------


async def _list_accounts(asked: Asked) -> Answered:
    query: AccountsQuery = asked.query
    wanted = {"after": query.after, "limit": query.limit}
    email = {} if query.email is UNSET else {"email": query.email}
    page = await asked.call("users.page", **wanted, **email)
    rows = [msgspec.convert(each, Account) for each in page["rows"]]
    last = rows[-1].id if rows else None
    return Answered(AccountList(data=rows, has_more=page["more"], last_id=last))


async def _create_account(asked: Asked) -> Answered:
    facts = await asked.call("users.create", **msgspec.structs.asdict(asked.body))
    account = msgspec.convert(facts, Account)
    return Answered(account, f"{PREFIX}/accounts/{account.id}")


async def _read_account(asked: Asked) -> Answered:
    facts = await asked.call("users.get", account_id=asked.account_id)
    return Answered(msgspec.convert(facts, Account))


async def _change_account(asked: Asked) -> Answered:
    given = msgspec.structs.asdict(asked.body)
    wanted = {name: value for name, value in given.items() if value is not UNSET}
    facts = await asked.call("users.change", account_id=asked.account_id, **wanted)
    return Answered(msgspec.convert(facts, Account))


async def _delete_account(asked: Asked) -> Answered:
    await asked.call("users.delete", account_id=asked.account_id)
    return Answered()


# --- keys -------------------------------------------------------------------------------


async def _list_keys(asked: Asked) -> Answered:
    query: KeysQuery = asked.query
    after = {} if query.after is UNSET else {"after": query.after}
    page = await asked.call("keys.page", account_id=asked.account_id, limit=query.limit, **after)
    rows = [msgspec.convert(each, Key) for each in page["rows"]]
    last = rows[-1].id if rows else None
    return Answered(KeyList(data=rows, has_more=page["more"], last_id=last))


async def _create_key(asked: Asked) -> Answered:
    new: NewKey = asked.body
    wanted = msgspec.structs.asdict(new)
    wanted["models"] = None if new.models is None else list(new.models)
    wanted["expires_at"] = None if new.expires_at is None else new.expires_at.timestamp()
    facts = await asked.call("keys.create", account_id=asked.account_id, **wanted)
    return Answered(msgspec.convert(facts, KeyWithSecret), f"{PREFIX}/keys/{facts['id']}")


async def _read_key(asked: Asked) -> Answered:
    facts = await asked.call("keys.get", id=asked.params["key_id"])
    return Answered(msgspec.convert(facts, Key))


async def _rotate_key(asked: Asked) -> Answered:
    facts = await asked.call("keys.rotate", id=asked.params["key_id"])
    return Answered(msgspec.convert(facts, KeyWithSecret))


async def _revoke_key(asked: Asked) -> Answered:
    facts = await asked.call("keys.revoke", id=asked.params["key_id"])
    query: RevokeQuery = asked.query
    if query.now:
        asked.desk.end_calls(facts["id"])
    return Answered()


# --- usage, models, plans ---------------------------------------------------------------


async def _usage(asked: Asked) -> Written:
    query: UsageQuery = asked.query
    if query.since and query.until and query.since > query.until:
        raise Unprocessable([("since", "must not be after until")])
    whole = await asked.desk.flush()
    return await answer_usage(
        asked.request,
        asked.desk.reader,
        query,
        pending=0 if whole else asked.desk.pending(),
        headers=asked.headers,
    )


async def _list_models(asked: Asked) -> Answered:
    found = model_facts(asked.desk.catalog())
    return Answered(ModelList(data=[msgspec.convert(each, Model) for each in found]))


async def _read_model(asked: Asked) -> Answered:
    name = asked.params["model_id"]
    for each in model_facts(asked.desk.catalog()):
        if each["id"] == name:
            return Answered(msgspec.convert(each, Model))
    raise ResourceNotFound(f"There is no model {_cut(name)}.")


async def _list_plans(asked: Asked) -> Answered:
    found = plan_facts(asked.desk.catalog())
    return Answered(PlanList(data=[msgspec.convert(each, Plan) for each in found]))


async def _read_plan(asked: Asked) -> Answered:
    name = asked.params["plan_name"]
    for each in plan_facts(asked.desk.catalog()):
        if each["name"] == name:
            return Answered(msgspec.convert(each, Plan))
    raise ResourceNotFound(f"There is no plan {_cut(name)}.")


def _cut(name: str) -> str:
    return name[:60]


_ACCOUNT: Final = "/accounts/{account_id}"
_KEY: Final = "/keys/{key_id}"
_MISSING: Final = (ResourceNotFound,)

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        "GET",
        "/accounts",
        "listAccounts",
        "List accounts",
        _list_accounts,
        AccountList,
        query=AccountsQuery,
    ),
    Operation(
        "POST",
        "/accounts",
        "createAccount",
        "Make an account",
        _create_account,
        Account,
        status=201,
        body=NewAccount,
        errors=(Conflicting,),
        notes="A 409 says that the email has an account already.",
    ),
    Operation(
        "GET",
        _ACCOUNT,
        "readAccount",
        "Read an account",
        _read_account,
        Account,
        errors=_MISSING,
    ),
    Operation(
        "PATCH",
        _ACCOUNT,
        "changeAccount",
        "Change plan, name, role or state of an account",
        _change_account,
        Account,
        body=AccountPatch,
        errors=(ResourceNotFound, Conflicting),
        notes="It counts from the next request on. A 409 says that it is the last active admin.",
    ),
    Operation(
        "DELETE",
        _ACCOUNT,
        "deleteAccount",
        "Delete an account and its keys",
        _delete_account,
        None,
        status=204,
        errors=(ResourceNotFound, Conflicting),
        notes="What it used stays in the ledger. A 409 says that it is the last active admin.",
    ),
    Operation(
        "GET",
        f"{_ACCOUNT}/keys",
        "listKeys",
        "List the keys of an account",
        _list_keys,
        KeyList,
        query=KeysQuery,
        errors=_MISSING,
    ),
    Operation(
        "POST",
        f"{_ACCOUNT}/keys",
        "createKey",
        "Make a key of an account",
        _create_key,
        KeyWithSecret,
        status=201,
        body=NewKey,
        errors=(ResourceNotFound, Conflicting),
        notes="The secret is in this answer and nowhere else. A 409 says that the account has as"
        " many keys as it may have, or is no admin and gets no management key.",
    ),
    Operation("GET", _KEY, "readKey", "Read a key", _read_key, Key, errors=_MISSING),
    Operation(
        "DELETE",
        _KEY,
        "revokeKey",
        "Revoke a key, for ever",
        _revoke_key,
        None,
        status=204,
        query=RevokeQuery,
        errors=_MISSING,
        notes="No request with it is let in once this is answered; calls that run go on to their"
        " end, unless `now` is true. The key stays in the list, as `revoked`.",
    ),
    Operation(
        "POST",
        f"{_KEY}/rotations",
        "rotateKey",
        "Give a key another secret",
        _rotate_key,
        KeyWithSecret,
        errors=(ResourceNotFound, Conflicting),
        notes="The old secret is invalid from the next request on; id, label, limits and what was"
        " used today stay. A 409 says that the key is revoked.",
    ),
    Operation(
        "GET",
        "/usage",
        "readUsage",
        "Add up what was used",
        _usage,
        UsageReport,
        query=UsageQuery,
    ),
    Operation("GET", "/models", "listModels", "List all models", _list_models, ModelList),
    Operation(
        "GET",
        "/models/{model_id}",
        "readModel",
        "Read a model",
        _read_model,
        Model,
        errors=_MISSING,
    ),
    Operation("GET", "/plans", "listPlans", "List all plans", _list_plans, PlanList),
    Operation(
        "GET", "/plans/{plan_name}", "readPlan", "Read a plan", _read_plan, Plan, errors=_MISSING
    ),
)
