"""The golden files of all protocols: finding, comparing and rewriting them.

``KUROL_UPDATE_GOLDEN=1`` rewrites the expected files; read the diff like code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from kurolproxy.protocols.base import Outgoing

ROOT = Path(__file__).resolve().parents[1] / "golden"


def cases(protocol: str, folder: str, *endings: str) -> list[Path]:
    """Return the inputs of a protocol's folder: the files whose names have one dot."""
    places = ROOT / protocol / folder
    found = [path for ending in endings for path in sorted(places.glob(f"*.{ending}"))]
    return [path for path in found if path.name.count(".") == 1]


def stems(paths: Iterable[Path]) -> list[str]:
    """Return the names of cases, as the ids of tests show them."""
    return [path.stem for path in paths]


def unexplained(origins: str, paths: Iterable[Path]) -> list[str]:
    """Return the cases of a protocol that its file of origins has no row for."""
    return [
        f"{path.parent.name}/{path.stem}"
        for path in paths
        if f"| {path.parent.name}/{path.stem} |" not in _told(path, origins)
    ]


def _told(path: Path, origins: str) -> str:
    return (path.parents[1] / origins).read_text()


def plain(value: Any) -> Any:
    """Return a neutral value as JSON: the class's name and what differs from its defaults."""
    if is_dataclass(value):
        said = {
            each.name: plain(found)
            for each in fields(value)
            if (found := getattr(value, each.name)) not in (None, (), {}, "", False, each.default)
        }
        return {"is": type(value).__name__, **said}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def golden(path: Path, found: str) -> None:
    """Compare with a golden file; with ``KUROL_UPDATE_GOLDEN=1`` write it instead."""
    if os.environ.get("KUROL_UPDATE_GOLDEN") == "1":
        path.write_text(found)
    assert path.read_text() == found


def golden_json(path: Path, found: Any) -> None:
    """Compare a JSON document with a golden file."""
    golden(path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def golden_read(case: Path, found: Any) -> None:
    """Compare what a case was read as, in neutral words, with the golden file beside it."""
    golden_json(case.with_suffix(".ir.json"), plain(found))


def golden_sent(path: Path, encoded: tuple[Outgoing, list[str]]) -> None:
    """Compare an encoded request, and what was lost on the way, with a golden file."""
    outgoing, lost = encoded
    found = {"body": outgoing.body, "lost": lost, "local_stop": list(outgoing.local_stop)}
    golden_json(path, found)
