"""Sources of an answer: Gemini names them behind the text, with offsets in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kurolproxy.ir import Citation
from kurolproxy.tokens import count

# --- read -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """A source and the bytes it stands for: of a part, or of all text so far."""

    url: str
    title: str | None
    start: int = 0
    end: int | None = None
    part: int = 0


class SourceReader:
    """Finds for each text block the sources that it is about.

    Args:
        whole: the answer is not streamed: a segment counts from the beginning of its part.
            In a stream, where parts are pieces, it counts from the beginning of all text.
    """

    __slots__ = ("_base", "_cited", "_found", "_parts", "_texts", "_whole")

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._found: list[_Source] = []
        self._cited: set[_Source] = set()
        # Texts of the open block, bytes before it, and bytes before each part.
        self._texts: list[str] = []
        self._base = 0
        self._parts: list[int] = []

    def learn(self, candidate: Mapping[str, Any]) -> None:
        """Take the sources that a candidate names; the last list counts."""
        found = [*_grounded(candidate.get("groundingMetadata")), *_recited(candidate)]
        if found:
            self._found = found

    def part(self) -> None:
        """A part of the whole answer begins."""
        if self._whole:
            self._parts.append(self._base + len(self._said()))

    def said(self, text: str) -> None:
        """Take more text of the open block."""
        self._texts.append(text)

    def close(self) -> list[Citation]:
        """The text block ends: return its sources, with offsets in its characters."""
        said = self._said()
        cited = [
            citation
            for source in dict.fromkeys(self._found)
            if source not in self._cited and (citation := self._within(source, said)) is not None
        ]
        self._base += len(said)
        self._texts.clear()
        return cited

    def _said(self) -> bytes:
        return "".join(self._texts).encode("utf-8", "surrogatepass")

    def _within(self, source: _Source, said: bytes) -> Citation | None:
        if source.end is None:
            self._cited.add(source)
            return Citation(source.url, source.title)
        if self._whole and source.part >= len(self._parts):
            # About a part that has not come yet.
            return None
        base = (self._parts[source.part] if self._whole else 0) - self._base
        start, end = base + source.start, base + source.end
        if end <= 0 or start >= len(said):
            return None
        self._cited.add(source)
        return Citation(source.url, source.title, _chars(said, start), _chars(said, end))


def _chars(said: bytes, end: int) -> int:
    return len(said[: max(end, 0)].decode("utf-8", "ignore"))


def _grounded(metadata: object) -> Iterator[_Source]:
    """Yield the pages of a search; documents of a store have no address for the client."""
    if not isinstance(metadata, dict):
        return
    pages = [_page(chunk) for chunk in _objects(metadata.get("groundingChunks"))]
    supports = list(_objects(metadata.get("groundingSupports")))
    for support in supports:
        segment = support.get("segment")
        place = segment if isinstance(segment, dict) else {}
        indices = support.get("groundingChunkIndices")
        for index in indices if isinstance(indices, list) else ():
            page = pages[index] if type(index) is int and 0 <= index < len(pages) else None
            if page is not None:
                yield _placed(page, place)
    if not supports:
        yield from (_Source(*page) for page in pages if page is not None)


def _page(chunk: Mapping[str, Any]) -> tuple[str, str | None] | None:
    for kind in ("web", "maps"):
        page = chunk.get(kind)
        if isinstance(page, dict) and isinstance(page.get("uri"), str) and page["uri"]:
            title = page.get("title")
            return page["uri"], title if isinstance(title, str) and title else None
    return None


def _placed(page: tuple[str, str | None], place: Mapping[str, Any]) -> _Source:
    url, title = page
    start, end = count(place.get("startIndex")) or 0, count(place.get("endIndex"))
    return _Source(url, title, start, end, count(place.get("partIndex")) or 0)


def _recited(candidate: Mapping[str, Any]) -> Iterator[_Source]:
    """Yield the pages that the model quotes from memory."""
    metadata = candidate.get("citationMetadata")
    if not isinstance(metadata, dict):
        return
    for name in ("citationSources", "citations"):
        for item in _objects(metadata.get(name)):
            page = _page({"web": item})
            if page is not None:
                yield _placed(page, {**item, "partIndex": 0})


def _objects(value: object) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else []
    # An element that is no object keeps its number.
    return [each if isinstance(each, dict) else {} for each in items]


# --- write ----------------------------------------------------------------------------------


class SourceWriter:
    """Gathers the sources of an answer's text blocks for its last frame."""

    __slots__ = ("_base", "_pages", "_part", "_segments")

    def __init__(self) -> None:
        self._base = 0
        self._part = 0
        self._pages: dict[tuple[str, str | None], int] = {}
        self._segments: dict[tuple[int, int, int], tuple[str, list[int]]] = {}

    def block(self, text: str, citations: list[Citation], part: int | None = None) -> None:
        """Take one text block.

        Args:
            part: its place among the parts; None in a stream, where all text is one.
        """
        for each in citations:
            page = self._pages.setdefault((each.url, each.title), len(self._pages))
            self._support(text, each, page, part)
        if part is None:
            self._base += _bytes(text)

    def _support(self, text: str, cited: Citation, page: int, part: int | None) -> None:
        start = min(cited.start or 0, len(text))
        end = len(text) if cited.end is None else min(max(cited.end, start), len(text))
        first = self._base + _bytes(text[:start])
        place = (part or 0, first, first + _bytes(text[start:end]))
        indices = self._segments.setdefault(place, (text[start:end], []))[1]
        if page not in indices:
            indices.append(page)

    def metadata(self) -> dict[str, Any] | None:
        """Return the ``groundingMetadata``; None without any source."""
        if not self._pages:
            return None
        chunks = [{"web": _web(url, title)} for url, title in self._pages]
        supports = [
            {"segment": _segment(*place, text), "groundingChunkIndices": indices}
            for place, (text, indices) in self._segments.items()
        ]
        return {"groundingChunks": chunks, "groundingSupports": supports}


def _web(url: str, title: str | None) -> dict[str, str]:
    page = {"uri": _mended(url)}
    return page if title is None else {**page, "title": _mended(title)}


def _segment(part: int, start: int, end: int, text: str) -> dict[str, Any]:
    segment: dict[str, Any] = {"partIndex": part} if part else {}
    return segment | {"startIndex": start, "endIndex": end, "text": _mended(text)}


def _bytes(text: str) -> int:
    return len(_mended(text).encode())


def _mended(text: str) -> str:
    """Return a text as it goes out: what UTF-8 cannot hold is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
