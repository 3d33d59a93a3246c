"""The journal: what was appended is read again, and damage costs the damaged line only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kurolproxy.storage.importer import read_piece
from kurolproxy.storage.journal import Journal, JournalFile, damaged_files_of, drop, left_in
from kurolproxy.storage.rows import (
    HEAD_BYTES,
    UsageRow,
    cleaned,
    encode_row,
    end_line,
    line,
    read_lines,
)
from tests.storage.usage_rows import row


def written(*ids: str) -> bytes:
    return b"".join(line(encode_row(row(id_)), number) for number, id_ in enumerate(ids))


def ids_in(data: bytes) -> list[str]:
    return [each.row.request_id for each in read_lines(data) if each.row is not None]


# --- lines ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ttft_ms": None, "estimated": True, "streamed": False, "outcome": "client_gone"},
        {"model": 'ein Modell \u2028 \n mit "Zeichen"', "started_at": 1.1},
        {"prompt": 10**9, "charged": 0, "status": 499},
    ],
)
def test_row_comes_back_as_it_was(fields: dict[str, Any]) -> None:
    kept = row("r1", **fields)
    [found] = read_lines(line(encode_row(kept), 7))
    assert (found.row, found.number, found.damaged) == (kept, 7, False)


def test_lines_say_where_they_are_and_the_last_one_how_many_there_were() -> None:
    data = written("a", "b") + end_line(2)
    found = list(read_lines(data, 100))
    assert [each.number for each in found] == [0, 1, 2]
    assert [each.last for each in found] == [False, False, True]
    assert found[0].start == 100
    assert [each.end for each in found[:-1]] == [each.start for each in found[1:]]
    assert found[-1].end == 100 + len(data)


def test_any_flipped_bit_costs_no_other_line() -> None:
    data = written("before", "victim", "behind")
    start, end = (each.start for each in list(read_lines(data))[1:])
    for at in range(start, end):
        for bit in (0x01, 0x20, 0x80):
            damaged = bytearray(data)
            damaged[at] ^= bit
            found = ids_in(bytes(damaged))
            assert found in (["before", "behind"], ["before", "victim", "behind"])
            # The feed between two lines is the only byte that costs nothing, but for the
            # case of a hexadecimal digit.
            if found == ["before", "victim", "behind"]:
                assert at == end - 1 or (at - start < HEAD_BYTES and bit == 0x20)


def test_file_cut_anywhere_costs_its_last_line_only() -> None:
    data = written("a", "b", "c")
    ends = [each.end for each in read_lines(data)]
    for size in range(len(data)):
        whole = sum(end <= size for end in ends)
        # The last feed may be missing: the line before it is whole.
        assert len(ids_in(data[:size])) in (whole, whole + (size + 1 in ends))


@given(st.lists(st.binary(max_size=60), max_size=6), st.data())
@settings(max_examples=200, deadline=None)
def test_reader_never_raises_and_finds_whole_lines_behind_rubbish(
    rubbish: list[bytes], chance: st.DataObject
) -> None:
    parts, wanted = [], []
    for number, part in enumerate(rubbish):
        parts.append(part + b"\n")
        if chance.draw(st.booleans()):
            wanted.append(f"r{number}")
            parts.append(line(encode_row(row(f"r{number}")), number))
    data = b"".join(parts)
    found = list(read_lines(data))
    assert [each.row.request_id for each in found if each.row is not None] == wanted
    assert b"".join(data[each.start : each.end] for each in found) == data


def test_cleaned_row_can_be_written_whatever_it_was() -> None:
    absurd = row("r1", prompt=-1, completion=10**30, model="\ud800", ttft_ms=-5, status=10**12)
    kept = cleaned(absurd)
    assert encode_row(kept)
    assert (kept.prompt, kept.completion, kept.ttft_ms) == (0, 10**9, 0)
    assert isinstance(kept, UsageRow)


# --- files ----------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path / "journal")
    made.open()
    return made


def ids_of(file: JournalFile) -> list[str]:
    piece = read_piece(file.path, 0, file.size, whole=True)
    return [each.request_id for each in piece.rows]


def test_files_and_their_folder_are_private(journal: Journal, tmp_path: Path) -> None:
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert journal.current.path.stat().st_mode & 0o777 == 0o600


def test_turned_file_ends_and_the_next_one_is_appended_to(journal: Journal) -> None:
    journal.current.append(encode_row(row("a")))
    journal.supply()
    old = journal.turn(close=True)
    journal.current.append(encode_row(row("b")))
    old.sync()
    assert (ids_of(old), old.closed, old.synced) == (["a"], True, True)
    assert ids_of(journal.current) == ["b"]
    assert [each.last for each in read_lines(old.path.read_bytes())] == [False, True]
    assert old.path.name < journal.current.path.name


def test_two_files_take_turns_without_ending(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", in_turn=True)
    journal.open()
    first = journal.current
    for name in ("a", "b", "c"):
        journal.current.append(encode_row(row(name)))
        journal.turn(close=False).sync()
    assert len(list((tmp_path / "journal").iterdir())) == 2
    assert ids_of(first) == ["a", "c"]
    assert not first.closed


def test_closing_keeps_what_has_rows_and_a_new_start_finds_it(
    journal: Journal, tmp_path: Path
) -> None:
    journal.current.append(encode_row(row("a")))
    journal.supply()
    for file in journal.close():
        file.sync()
    [left] = left_in(tmp_path / "journal")
    assert ids_of(left) == ["a"]
    again = Journal(tmp_path / "journal")
    again.open()
    assert again.current.path.name > left.path.name


def test_line_that_does_not_fit_leaves_no_half_behind(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    journal.current.append(encode_row(row("a")))
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:30]))
    with pytest.raises(OSError, match="No space left"):
        journal.current.append(encode_row(row("b")))
    monkeypatch.undo()
    journal.current.append(encode_row(row("c")))
    assert journal.current.path.read_bytes() == written("a", "c")


def test_half_that_cannot_be_taken_back_costs_no_other_line(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, size: int) -> None:
        raise OSError(30, "Read-only file system")

    real = os.write
    journal.current.append(encode_row(row("a")))
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:30]))
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError, match="No space left"):
        journal.current.append(encode_row(row("b")))
    monkeypatch.undo()
    journal.current.append(encode_row(row("c")))
    assert ids_of(journal.current) == ["a", "c"]


def test_dropped_file_is_gone_but_for_a_damaged_one(journal: Journal, tmp_path: Path) -> None:
    journal.current.append(encode_row(row("a")))
    [file] = journal.close()
    file.damaged = 1
    drop(file)
    assert left_in(tmp_path / "journal") == []
    [kept] = damaged_files_of(tmp_path / "journal")
    assert ids_in(kept.read_bytes()) == ["a"]
    again = Journal(tmp_path / "journal")
    again.open()
    assert again.current.path.stem > kept.stem


# --- pieces ---------------------------------------------------------------------------


def test_long_file_is_read_in_pieces_and_nothing_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "file"
    names = [f"r{number}" for number in range(5_000)]
    path.write_bytes(written(*names))
    size, at, found, pieces = path.stat().st_size, 0, [], 0
    while at < size:
        piece = read_piece(path, at, size, whole=True)
        found += [each.request_id for each in piece.rows]
        assert (piece.damaged, piece.end > at) == (0, True)
        at, pieces = piece.end, pieces + 1
    assert found == names
    assert pieces > 2


def test_rubbish_as_long_as_a_piece_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(written("a") + b"\0" * 500_000 + b"\n" + written("b"))
    size, at, found = path.stat().st_size, 0, []
    while at < size:
        piece = read_piece(path, at, size, whole=True)
        found += [each.request_id for each in piece.rows]
        assert piece.end > at
        at = piece.end
    assert found == ["a", "b"]


def test_file_that_became_shorter_is_damaged_and_comes_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(written("a"))
    size = path.stat().st_size
    assert read_piece(path, size, size + 100, whole=True) == ([], size + 100, 1)
