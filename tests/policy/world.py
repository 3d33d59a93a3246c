"""An admission with one account, for tests to state the plan and the keys of."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from kurolproxy.errors import GatewayError
from kurolproxy.policy.admission import Admission, Ask, Caller, Standing
from kurolproxy.policy.catalog import Catalog, Model, Plan
from kurolproxy.policy.keys import Account, Key, KeyTable, digest
from kurolproxy.policy.meter import Grant

TODAY = date(2026, 3, 2)
TOMORROW = date(2026, 3, 3)
NOW = 1_000.0
UNIX_NOW = 1_772_000_000.0
CONTACT = "mailto:ops@example.org"
MODEL = Model("gpt-4o", (), aliases=("fast",), max_output_tokens=200_000)
HIDDEN = Model("secret-model", ())


class World:
    """An admission with one account, whose plan and keys a test states."""

    def __init__(self, *, contact: str = CONTACT, models: list[Model] | None = None, **plan: Any):
        self.plan = Plan(**{"name": "team", "models": ("gpt-*",), **plan})
        self.models = [MODEL, HIDDEN] if models is None else models
        self.account = Account(1, "ann@example.org", "Ann", "user", "team")
        self.keys = KeyTable()
        self.admission = Admission(self.catalog(self.plan), self.keys, contact=contact)
        self.now, self.today = NOW, TODAY

    def catalog(self, *plans: Plan) -> Catalog:
        return Catalog([], self.models, plans)

    def caller(self, secret: str = "s1", **key: Any) -> Caller:
        if self.keys.find(secret) is None or key:
            fields = {"id": f"k-{secret}", "account_id": 1, "label": "", **key}
            made = Key(digest=digest(secret), prefix=secret[:12], last_four=secret[-4:], **fields)
            self.keys.put(made, self.account)
        return self.admission.authenticate(secret, UNIX_NOW)

    def admit(self, caller: Caller | None = None, *, prompt: int = 0, **ask: Any) -> Grant:
        caller = caller or self.caller()
        return self.admission.admit(caller, MODEL, Ask(prompt, **ask), self.now, self.today)

    def refused(self, kind: type[GatewayError], caller: Caller | None = None, **ask: Any) -> Any:
        with pytest.raises(kind) as caught:
            self.admit(caller, **ask)
        assert type(caught.value) is kind
        return caught.value

    def outcome(self, **ask: Any) -> tuple[str, int | None]:
        """The case, or the kind of the refusal, and the output cap to send upstream."""
        try:
            grant = self.admit(**ask)
        except GatewayError as error:
            return error.kind, None
        return grant.case, grant.output_cap

    def standing(self, caller: Caller | None = None) -> Standing:
        return self.admission.standing(caller or self.caller(), self.now, self.today)
