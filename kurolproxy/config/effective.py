"""The configuration as it takes effect, presets and defaults filled in, secrets hidden."""

from __future__ import annotations

import dataclasses
from typing import Any

from kurolproxy.config.model import Config
from kurolproxy.config.redaction import HIDDEN, hide_headers, hide_proxy
from kurolproxy.config.schema import SECTIONS
from kurolproxy.policy.catalog import Model, Target, Upstream


def effective(config: Config) -> dict[str, Any]:
    """Return the whole configuration as JSON values.

    Returns:
        table name -> its keys, as the file names them; a target has every flag and timeout,
        wherever they came from; None: no value, no limit. Secrets are ``***``.
    """
    value: dict[str, Any] = {
        name: _plain(dataclasses.asdict(getattr(config, name))) for name in SECTIONS
    }
    value["metrics"]["token"] = HIDDEN if config.metrics.token else ""
    catalog = config.catalog
    value["upstreams"] = [_upstream(each, config) for each in catalog.upstreams.values()]
    value["models"] = [_model(each) for each in catalog.models.values()]
    value["plans"] = [_plain(dataclasses.asdict(each)) for each in catalog.plans.values()]
    return value


def _upstream(upstream: Upstream, config: Config) -> dict[str, Any]:
    return {
        "name": upstream.name,
        "protocols": list(upstream.protocols),
        "base_url": upstream.base_url,
        "paths": dict(upstream.paths),
        "query": dict(upstream.query),
        "auth_header": upstream.auth_header,
        "api_keys": [HIDDEN] * len(upstream.api_keys),
        "headers": hide_headers(upstream, config.secrets),
        "proxy": None if upstream.proxy is None else hide_proxy(upstream.proxy),
        "max_concurrent": upstream.max_concurrent,
        "trace": upstream.trace,
    }


def _model(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "aliases": list(model.aliases),
        "active": model.active,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "price": None if model.price is None else dataclasses.asdict(model.price),
        "targets": [_target(each) for each in model.targets],
    }


def _target(target: Target) -> dict[str, Any]:
    return {
        "upstream": target.upstream.name,
        "model": target.model,
        "protocols": list(target.protocols),
        "priority": target.priority,
        "weight": target.weight,
        **_plain(dataclasses.asdict(target.timeouts)),
        **_plain(dataclasses.asdict(target.traits)),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
