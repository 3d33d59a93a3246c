"""The checks of ``doctor`` that leave the machine: each upstream is connected to, or called."""

from __future__ import annotations

from collections.abc import Iterator

from kurolproxy.cli.checks import Finding, Patient
from kurolproxy.cli.trial import Trial, call_all, connect_all, first_of

_NO_TARGET = "Add a [[models]] table with a target at it, or remove the upstream."


def upstreams(patient: Patient) -> Iterator[Finding]:
    """Each upstream's name is known, and it takes a connection, with TLS where it is https."""
    assert patient.config is not None
    catalog = patient.config.catalog
    found = catalog.upstreams.values()
    if not found:
        yield Finding("warning", "there is no upstream", "Add an [[upstreams]] table.")
    for trial in connect_all(catalog):
        text = f"{trial.upstream}: {trial.problem}"
        if trial.problem:
            yield Finding("error", text, trial.remedy)
        else:
            yield Finding("ok", f"{trial.upstream} takes connections ({_ms(trial)})")


def calls(patient: Patient) -> Iterator[Finding]:
    """Each credential of each upstream answers a tiny call of its first target."""
    config = patient.config
    assert config is not None
    if not patient.call:
        return
    if patient.only_secrets:
        yield Finding(
            "warning",
            "nothing is called: the credentials are the service's",
            "Run this with the variables and credentials that the service is given.",
        )
        return
    found = {
        each.name: first_of(config.catalog, each) for each in config.catalog.upstreams.values()
    }
    for name, ways in found.items():
        if not ways:
            yield Finding("warning", f"{name}: no model has a target there", _NO_TARGET)
    for trial in call_all(config, [way for ways in found.values() for way in ways]):
        if trial.problem:
            yield Finding("error", f"{told(trial)}: {trial.problem}", trial.remedy)
        else:
            yield Finding("ok", f"{told(trial)} answers")


def told(trial: Trial) -> str:
    """Return which call it was and how long it took: ``lab/big, credential 1 (12 ms)``."""
    which = "" if trial.credential is None else f", credential {trial.credential}"
    return f"{trial.upstream}/{trial.model}{which}, {trial.protocol} ({_ms(trial)})"


def _ms(trial: Trial) -> str:
    return f"{trial.seconds * 1_000:,.0f} ms"
