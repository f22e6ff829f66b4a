"""Packets become pages of whole rows, and an answer that is none an error (M-6, M-17, §12.1 rows 25 and 27)."""

from __future__ import annotations

import pytest
from pymysql.err import InternalError, MySQLError, OperationalError, ProgrammingError

from connectors.mysql.pages import ROOM_BYTES, Packets
from tests.unit.mysql_script import EOF, KILLED, LONGEST, OK_END, answer, described, packets, pages, row, value

ROWS = [row(b"%d" % number, None, b"x" * (number % 300)) for number in range(600)]
NAMES = ["id", "größe", "a`b"]


def read(data, steps=(), **how):
    """The rows of an answer, and what it was read with."""
    found = Packets(**how)
    return [bytes(page.data[a:b]) for page in pages(found, data, steps) for a, b in spans(page)], found


def spans(page):
    return zip(page.starts.tolist(), page.ends.tolist(), strict=True)


@pytest.mark.parametrize("steps", [(), (1,), (2, 3, 5), (7, 4096)], ids=str)
@pytest.mark.parametrize("page_bytes", [1, 200, 1 << 20], ids=str)
def test_rows_are_the_same_wherever_bytes_and_pages_are_cut(steps, page_bytes):
    rows, found = read(answer(NAMES, ROWS), steps, page_bytes=page_bytes)
    assert (rows, found.names, found.is_ended) == (ROWS, NAMES, True)


def test_a_page_has_the_rows_that_it_may_have_and_no_more_bytes_than_came_at_once():
    found = list(pages(Packets(page_rows=10), answer(NAMES, ROWS), (100,)))
    assert max(map(len, found)) < 10 + 100 // 4
    found = list(pages(Packets(page_bytes=1000), answer(NAMES, ROWS), (50,)))
    assert len(found) > 50 and max(len(page.data) for page in found) < 2_200


@pytest.mark.parametrize("size", [LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST], ids=str)
def test_a_row_of_several_packets_is_joined_where_they_are_cut_or_not(size):
    """A row that fills its packets to the last byte has an empty one behind it."""
    rows = [b"\x01a", b"y" * size, b"\x01b", b"\x01c"]
    data = answer(["a"], rows)
    turns, rest = divmod(data.index(b"y") + LONGEST - 1, ROOM_BYTES)
    for steps in ((), (*[ROOM_BYTES] * turns, rest, 1, 1, 1, 1, 1, 1)):  # the second header byte by byte
        assert read(data, steps)[0] == read(data, steps, page_bytes=1 << 26)[0] == rows


def test_a_row_that_no_column_takes_is_refused_before_it_is_there():
    rows = [b"\x01a", b"y" * 5_000, b"\x01b"]
    assert read(answer(["a"], rows), (500,), page_bytes=1, most_bytes=5_600)[0] == rows
    with pytest.raises(OperationalError, match=r"2020.*more than 4000 bytes"):
        read(answer(["a"], rows), (500,), page_bytes=1, most_bytes=4_000)


def test_a_row_that_begins_as_the_end_does_is_a_row():
    long = value(b"z" * (1 << 24))
    assert long[0] == EOF[0]
    for end in (EOF, OK_END):
        rows, found = read(answer(["a"], [long, b"\x01b"], end), ends_with_ok=end is OK_END)
        assert rows == [long, b"\x01b"] and found.is_ended


def test_a_result_without_rows_ends():
    assert read(answer(NAMES, []))[0] == []
    rows, found = read(answer(NAMES, [], OK_END), ends_with_ok=True)
    assert (rows, found.names, found.is_ended) == ([], NAMES, True)


def test_a_result_of_very_many_columns_is_read():
    names = [f"c{number}" for number in range(1_000)]
    assert read(answer(names, []), (97,))[1].names == names


@pytest.mark.parametrize("rows", [0, 1, 599], ids=str)
def test_an_error_of_the_server_in_the_midst_of_rows_is_raised_and_ends_the_answer(rows):
    found = Packets(page_bytes=1 << 10)
    with pytest.raises(OperationalError, match=r"1317.*interrupted"):
        list(pages(found, answer(NAMES, ROWS[:rows], KILLED), (512,)))
    assert found.is_ended


def test_an_error_instead_of_columns_and_among_them_is_raised():
    unknown = b"\xff" + (1054).to_bytes(2, "little") + b"#42S22Unknown column"
    for head in ([unknown], [b"\x02", described("a"), unknown]):
        found = Packets()
        with pytest.raises(MySQLError, match="1054") as raised:
            list(pages(found, packets(head)))
        assert found.is_ended and isinstance(raised.value, OperationalError | ProgrammingError | InternalError)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (packets([b"\xfb/etc/passwd"]), "a file is asked for"),
        (packets([b"\x00\x00\x00\x02\x00\x00\x00"]), "no columns"),
        (packets([b"\x01", b"\x03def\xfe"]) + packets([EOF], 3), "columns of the answer cannot be read"),
        (packets([b"\xfe", described("a"), EOF]), "columns of the answer cannot be read"),
        (packets([b"", described("a"), EOF]), "columns of the answer cannot be read"),
        (packets([b"\xff"]), "columns of the answer cannot be read"),
        (answer(["a"], [b"\x01a", EOF, b"\x01b"]), "more follows the end"),
        (answer(["a"], [KILLED, b"\x01b"]), "more follows the end"),
        (answer(["a"], [b"\x01a"] * 5).replace(b"\x02\x00\x00\x05\x01a", b"", 1), "number is not the next"),
    ],
    ids=str,
)
def test_what_is_no_answer_to_a_query_is_refused(data, why):
    with pytest.raises(OperationalError, match=f"2027.*{why}"):
        read(data)


def test_a_packet_that_is_missing_between_pages_is_noticed():
    data = answer(["a"], [b"\x01a"] * 300)
    gone = data.replace(b"\x02\x00\x00" + bytes([200]) + b"\x01a", b"", 1)
    assert len(gone) < len(data)
    assert len(read(data, page_bytes=100)[0]) == 300
    with pytest.raises(OperationalError, match="number is not the next"):
        read(gone, (6,), page_bytes=1)


def test_numbers_go_on_where_a_row_of_several_packets_is_cut_by_a_page():
    """Two of its packets came when the rows before it were taken."""
    rows = [b"\x01a", b"x" * (2 * LONGEST + 1_000_000), b"\x01b"]
    assert read(answer(["a"], rows), page_bytes=2 * LONGEST + 500_000)[0] == rows


def test_numbers_go_on_behind_a_row_of_several_packets():
    """Each of its packets bears one: a packet missing behind it is noticed, in its page and in the next."""
    rows = [b"\x01a", b"x" * (LONGEST + 5), b"\x01b", b"\x01c", b"\x01d"]
    whole = answer(["a"], rows)
    at = whole.rindex(b"\x02\x00\x00") - 6
    for steps in ((), (1 << 18,)):
        for page_rows in (1, 1 << 17):
            assert read(whole, steps, page_rows=page_rows)[0] == rows
            with pytest.raises(OperationalError, match="number is not the next"):
                read(whole[:at] + whole[at + 6 :], steps, page_rows=page_rows)
