"""``${...}`` in the strings of a configuration: environment, files, systemd credentials.

References are resolved after the file was parsed, in string values only (never in keys),
so that a value can neither break the file's syntax nor add to it. ``$${`` stands for the
text ``${``. A resolved value appears in no message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

from kurolproxy.config.positions import Path
from kurolproxy.config.problems import Report, quote

# A credential is some hundred characters; the limit keeps /dev/zero from being read.
_MAX_FILE_BYTES = 65_536
_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What Python makes of bytes of the environment that are no UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.-]+")
_FORMS = "write ${NAME}, ${file:PATH} or ${credential:NAME}, and $${ for a plain ${"


class Broken:
    """What stands in for a value that was not read; why is noted already, if it is an error."""


BROKEN: Final = Broken()


@dataclass(frozen=True, slots=True)
class Sources:
    """Where references are looked up.

    Attributes:
        environ: the environment variables.
        credentials_dir: the folder of ``${credential:...}``; None: there is none.
        directory: what a relative path of ``${file:...}`` starts from.
    """

    environ: Mapping[str, str]
    credentials_dir: FilePath | None
    directory: FilePath

    def read(self, reference: str) -> str:
        """Return what a reference stands for.

        Args:
            reference: what stands between the braces.

        Raises:
            _Unresolved: with a message that names the reference only.
        """
        kind, colon, rest = reference.partition(":")
        if colon and kind == "file":
            return self._file(reference, self.directory / rest)
        if colon and kind == "credential":
            return self._credential(reference, rest)
        if _VARIABLE.fullmatch(reference):
            return self._variable(reference)
        raise _Unresolved(f"cannot read {quote('${' + reference + '}')}: {_FORMS}")

    def _variable(self, name: str) -> str:
        value = self.environ.get(name)
        if value is None:
            raise _Unresolved(f"the environment variable {name} is not set")
        if not value.isascii() and _SURROGATE.search(value):
            raise _Unresolved(f"the environment variable {name} is not UTF-8 text")
        return value

    def _credential(self, reference: str, name: str) -> str:
        if not _CREDENTIAL.fullmatch(name) or name in (".", ".."):
            raise _Unresolved(f"{quote(name)} is no name of a systemd credential")
        if self.credentials_dir is None:
            raise _Unresolved(
                f"${{{reference}}}: there is no credentials directory ($CREDENTIALS_DIRECTORY"
                " is not set); systemd makes one for LoadCredential="
            )
        return self._file(reference, self.credentials_dir / name)

    def _file(self, reference: str, path: FilePath) -> str:
        shown = quote("${" + reference + "}")
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise _Unresolved(f"cannot read {shown}: {error.strerror}") from error
        except ValueError as error:  # a NUL in the path
            raise _Unresolved(f"cannot read {shown}: not a path") from error
        if len(data) > _MAX_FILE_BYTES:
            raise _Unresolved(f"cannot read {shown}: larger than {_MAX_FILE_BYTES} bytes")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            # The exception holds the file's bytes: it must not be chained.
            raise _Unresolved(f"cannot read {shown}: not UTF-8 text") from None
        return text.strip("\r\n")


class _Unresolved(Exception):
    """A reference that stands for nothing; its text is safe to show."""


@dataclass(slots=True)
class Resolved:
    """A document with its references resolved.

    Attributes:
        document: like the parsed file; ``BROKEN`` where a reference failed.
        fragments: path of a string -> what the references in it stood for.
        credentials: everything that ``${credential:...}`` stood for.
    """

    document: dict[str, Any] = field(default_factory=dict)
    fragments: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    credentials: list[str] = field(default_factory=list)


def resolve(
    document: dict[str, Any],
    report: Report,
    sources: Sources,
    optional: Callable[[Path], bool] | None = None,
) -> Resolved:
    """Resolve every reference in a parsed file; each that fails is one error.

    Args:
        optional: the places where one that fails is no error: the value is left out there.
    """
    resolved = Resolved()
    resolved.document = _Resolver(report, sources, resolved, optional).value(document, ())
    return resolved


class _Resolver:
    def __init__(
        self,
        report: Report,
        sources: Sources,
        resolved: Resolved,
        optional: Callable[[Path], bool] | None,
    ) -> None:
        self._report = report
        self._sources = sources
        self._resolved = resolved
        self._optional = optional

    def value(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, list):
            return [self.value(each, (*path, index)) for index, each in enumerate(value)]
        if isinstance(value, dict):
            return {name: self.value(each, (*path, name)) for name, each in value.items()}
        return value

    def _text(self, text: str, path: Path) -> str | Broken:
        fragments: list[str] = []
        faults: list[str] = []

        def replace(match: re.Match[str]) -> str:
            if match.group() == "$${":
                return "${"
            try:
                fragments.append(self._reference(match.group(1)))
            except _Unresolved as error:
                faults.append(str(error))
                return ""
            return fragments[-1]

        result = _REFERENCE.sub(replace, text)
        if fragments:
            self._resolved.fragments[path] = tuple(fragments)
        if self._optional is None or not self._optional(path):
            for fault in faults:
                self._report.error(path, fault)
        return BROKEN if faults else result

    def _reference(self, reference: str | None) -> str:
        if reference is None:
            raise _Unresolved(f"a ${{ without its }}: {_FORMS}")
        value = self._sources.read(reference)
        if reference.startswith("credential:"):
            self._resolved.credentials.append(value)
        return value
