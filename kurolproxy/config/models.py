"""``[[models]]`` and ``[[plans]]``: what users call, and who may call it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kurolproxy.config.model import ModelTable, PlanTable, PriceTable, TargetTable
from kurolproxy.config.names import Names, read_protocols
from kurolproxy.config.problems import Report
from kurolproxy.config.reading import Spot, Table, read_table, valid
from kurolproxy.config.schema import keys_of, label, model_keys, plan_keys, target_keys
from kurolproxy.config.upstreams import Known, Upstreams
from kurolproxy.ir import ModelTraits, ProtocolName
from kurolproxy.policy.catalog import Model, Plan, Price, Target, Timeouts
from kurolproxy.policy.catalog import matches as pattern_matches

_TIMEOUTS: Final = frozenset(each.name for each in dataclasses.fields(Timeouts))
_FLAGS: Final = frozenset(each.name for each in dataclasses.fields(ModelTraits))
_MODEL_OWN: Final = frozenset(keys_of(ModelTable))
_TARGET_OWN: Final = frozenset(keys_of(TargetTable))


class Models:
    """Every model of a file.

    Args:
        entries: the elements of the array, references resolved.
        upstreams: what targets may refer to.
        defaults: the timeouts of targets that nobody gave others.
    """

    def __init__(
        self,
        report: Report,
        entries: list[Any],
        upstreams: Upstreams,
        defaults: Timeouts,
        available: tuple[ProtocolName, ...],
    ) -> None:
        self._report = report
        self._upstreams = upstreams
        self._defaults = defaults
        self._available = available
        self._names = Names(report, "model id or alias")
        self._target_keys = target_keys()
        self.models: list[Model] = []
        keys = model_keys()
        for index, entry in enumerate(entries):
            table = read_table(report, ("models", index), label("models"), entry, keys)
            self._add(table, ModelTable(**table.only(_MODEL_OWN)))

    def _add(self, table: Table, row: ModelTable) -> None:
        if row.id:
            self._names.claim(row.id, (*table.path, "id"))
        for index, alias in valid(row.aliases):
            self._names.claim(alias, (*table.path, "aliases", index))
        narrowed = self._narrowed(table, row)
        entries = [
            _TargetEntry(table, self._read_target(table, index, raw), narrowed)
            for index, raw in valid(row.targets)
        ]
        targets = [self._target(entry) for entry in entries]
        self.models.append(
            Model(
                id=row.id,
                targets=tuple(each for each in targets if each is not None),
                aliases=row.aliases,
                active=row.active,
                context_window=row.context_window,
                max_output_tokens=row.max_output_tokens,
                price=_price(row.price),
            )
        )

    def _narrowed(self, table: Table, row: ModelTable) -> tuple[ProtocolName, ...] | None:
        if row.protocols is None:
            return None
        return read_protocols(table.spot("protocols"), row.protocols, self._available)

    def _read_target(self, model: Table, index: int, raw: dict[str, Any]) -> Table:
        path = (*model.path, "targets", index)
        return read_table(self._report, path, f"targets of {model.title}", raw, self._target_keys)

    def _target(self, entry: _TargetEntry) -> Target | None:
        row = TargetTable(**entry.table.only(_TARGET_OWN))
        known = self._upstreams.known.get(row.upstream)
        if known is None:
            if row.upstream:
                wrong = f"unknown upstream {entry.table.spot('upstream').quote()}"
                hint = self._upstreams.names.suggest(row.upstream)
                entry.table.error("upstream", f"{wrong}{hint}")
            return None
        protocols = entry.protocols(known)
        traits = dataclasses.replace(known.traits, **entry.inherited(_FLAGS))
        timeouts = {**known.timeouts, **entry.inherited(_TIMEOUTS)}
        entry.check_detour(traits, protocols)
        target = Target(
            upstream=known.upstream,
            model=row.model or str(entry.model.values.get("id", "")),
            protocols=protocols,
            priority=row.priority,
            weight=row.weight,
            traits=traits,
            timeouts=dataclasses.replace(self._defaults, **timeouts),
        )
        entry.check_cap(target)
        return target


@dataclasses.dataclass(frozen=True, slots=True)
class _TargetEntry:
    """One target while it is read.

    Attributes:
        model: the model that it belongs to.
        narrowed: the protocols that the model allows; None: all.
    """

    model: Table
    table: Table
    narrowed: tuple[ProtocolName, ...] | None

    def inherited(self, names: frozenset[str]) -> dict[str, Any]:
        """Return the values of the target, and of its model where it has none."""
        return {**self.model.only(names), **self.table.only(names)}

    def protocols(self, known: Known) -> tuple[ProtocolName, ...]:
        """Return what may be spoken; a protocol that the upstream lacks is noted."""
        offers = known.upstream.protocols
        if self.narrowed is None or not offers:
            return offers
        written = self.model.values["protocols"]
        for protocol in self.narrowed:
            if protocol not in offers:
                spot = self.model.spot("protocols").item(written.index(protocol))
                self._not_offered(spot, offers)
        return self.narrowed

    def check_detour(self, traits: ModelTraits, protocols: tuple[ProtocolName, ...]) -> None:
        """Note a ``tools_with_reasoning`` that leads nowhere."""
        detour = traits.tools_with_reasoning
        if detour is not None and protocols and detour not in protocols:
            own = "tools_with_reasoning" in self.table.given
            spot = (self.table if own else self.model).spot("tools_with_reasoning")
            self._not_offered(spot, protocols)

    def _not_offered(self, spot: Spot, offers: tuple[ProtocolName, ...]) -> None:
        upstream = self.table.spot("upstream").quote()
        text = f"protocol {spot.quote()} is not offered by upstream {upstream}"
        spot.report.error(spot.path, f"{text} (it offers: {', '.join(offers)})")

    def check_cap(self, target: Target) -> None:
        """Warn when a request translated to Messages would get an output cap by guess."""
        translated = target.protocols[:1] == ("anthropic",)
        if translated and target.traits.max_output_tokens is None:
            self.table.warn(
                "this target speaks anthropic and has no max_output_tokens:"
                " requests that set no cap are cut at 8192 tokens"
            )


def _price(row: PriceTable | None) -> Price | None:
    return None if row is None else Price(**dataclasses.asdict(row))


class Plans:
    """Every plan of a file.

    Args:
        entries: the elements of the array, references resolved.
        model_ids: what patterns are held against.
    """

    def __init__(self, report: Report, entries: list[Any], model_ids: Iterable[str]) -> None:
        self._model_ids = list(model_ids)
        self.names = Names(report, "plan name")
        self.plans: list[Plan] = []
        keys = plan_keys()
        for index, entry in enumerate(entries):
            table = read_table(report, ("plans", index), label("plans"), entry, keys)
            self._add(table, table.values)

    def _add(self, table: Table, values: Mapping[str, Any]) -> None:
        row = PlanTable(**values)
        if row.name:
            self.names.claim(row.name, (*table.path, "name"))
        for index, pattern in valid(row.models):
            if not any(pattern_matches((pattern,), each) for each in self._model_ids):
                spot = table.spot("models").item(index)
                spot.warn(f"the pattern {spot.quote()} matches no model")
        self.plans.append(Plan(**{each.name: getattr(row, each.name) for each in _PLAN_FIELDS}))


_PLAN_FIELDS: Final = dataclasses.fields(PlanTable)
