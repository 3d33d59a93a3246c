"""What a file is, by how it begins and by its name."""

from __future__ import annotations

import base64

import pytest

from kurolproxy.protocols.media import file_type, headed, picture_type

BEGINNINGS = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff\xe0", "image/jpeg"),
    (b"GIF89a", "image/gif"),
    (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
    (b"%PDF-1.4", ""),
    (b"", ""),
]


@pytest.mark.parametrize(("data", "mime"), BEGINNINGS)
def test_picture_is_known_by_its_first_bytes(data: bytes, mime: str) -> None:
    assert picture_type(base64.b64encode(data + bytes(20)).decode()) == mime


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("Report.PDF", "application/pdf"),
        ("https://f.example/notes.md?v=1.2", "text/markdown"),
        ("film.webm", "video/webm"),
        ("archive.tar.xz", "other"),
        ("", "other"),
        (None, "other"),
    ],
)
def test_file_is_known_by_the_ending_of_its_name(name: str | None, mime: str) -> None:
    assert file_type(name, "other") == mime


def test_text_file_is_headed_by_its_name_and_context() -> None:
    assert headed("words", "a.txt", "of today") == "[file: a.txt]\nof today\nwords"
    assert headed("words", None, None) == "words"
