"""NDJSON as a source: exactly what is written, or an error that names file and line (H-2)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from connectors.files import lines
from state.contract import is_json
from state.errors import ContractError
from tests.unit.files import contract, read, read_by_policy, settings

AT = "2025-11-15T00:00:00Z"
TYPES = {"at": "timestamp", "v": "string"}


def written(folder: Path, text: str | bytes, types=TYPES, **given):
    (folder / "a.ndjson").write_bytes(text if isinstance(text, bytes) else text.encode())
    return settings(folder / "*.ndjson", format="ndjson", types=types, **given)


def line(value: str) -> str:
    return f'{{"at": "{AT}", "v": {value}}}\n'


def values(folder: Path, text: str | bytes, word: str = "string", **given) -> list:
    return read(written(folder, text, {"at": "timestamp", "v": word}, **given))["v"].to_pylist()


@pytest.mark.parametrize(
    ("word", "text", "value"),
    [
        ("string", '"späť \\ud83d\\ude00 \\u0000"', "späť 😀 \0"),
        ("string", '""', ""),
        ("string", "null", None),
        ("bool", "false", False),
        ("int8", "-128", -128),
        ("int64", "9007199254740993", 2**53 + 1),
        ("int64", "-9223372036854775808", -(2**63)),
        ("float64", "5", 5.0),
        ("float64", "1e-7", 1e-7),
        ("decimal(38,2)", "123456789012345678901234567890.25", Decimal("123456789012345678901234567890.25")),
        ("decimal(18,2)", '"1.5"', Decimal("1.50")),
        ("date", '"2025-02-28"', date(2025, 2, 28)),
        ("timestamp", '"2025-11-15T10:00:00.5+0530"', datetime(2025, 11, 15, 4, 30, 0, 500000, UTC)),
        ("timestamp", '"2025-11-15T10:00:00"', datetime(2025, 11, 15, 10, tzinfo=UTC)),
        (
            "json",
            '{"b":  1.0, "a": [9007199254740993, "\\u00e9"]}',
            '{"b":  1.0, "a": [9007199254740993, "\\u00e9"]}',
        ),
        ("json", '"text"', '"text"'),
        ("json", "null", None),
        ("binary", '"aGk="', b"hi"),
    ],
)
def test_a_value_is_read_exactly(tmp_path, word, text, value):
    assert values(tmp_path, line(text), word) == [value]
    assert values(tmp_path, line(text), word, on_bad_value={"v": "null"}) == [value]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("string", "5"),
        ("string", "{}"),
        ("bool", '"true"'),
        ("int8", "128"),
        ("int64", "1.0"),
        ("int64", "9223372036854775808"),
        ("int64", '"5"'),
        ("float64", "1e999"),
        ("float64", '"5"'),
        ("decimal(18,2)", "1.005"),
        ("date", "20000"),
        ("date", '"2025-02-30"'),
        ("timestamp", "1763164800000"),
        ("timestamp", '"2025-11-15T10:00:00.1234567Z"'),
        ("binary", '"no base64!"'),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_that_names_file_line_and_column(tmp_path, word, text):
    with pytest.raises(ContractError, match=rf"a\.ndjson, line 4: column 'v' \({word[:7]}") as caught:
        values(tmp_path, line("null") * 3 + line(text) + line("null"), word)
    assert text.strip('"') in caught.value.message
    types = {"at": "timestamp", "v": word}
    given = written(tmp_path, line("null") + line(text), types, on_bad_value={"v": "null"})
    table, touched, _ = read_by_policy(given)
    assert (table["v"].to_pylist(), touched) == ([None, None], {"v": 1})


def test_a_column_of_text_keeps_what_is_no_string_as_it_is_written_m14(tmp_path):
    text = "".join(map(line, ['"2025-02-01"', "20000", "[1, 2]", '"soon"', "null"]))
    given = written(tmp_path, text, {"at": "timestamp", "v": "date"}, on_bad_value={"v": "text"})
    table, touched, _ = read_by_policy(given)
    assert table["v"].to_pylist() == ["2025-02-01", "20000", "[1, 2]", "soon", None]
    assert touched == {"v": 3}


def test_a_name_that_is_there_twice_is_refused_also_beside_a_policy(tmp_path):
    text = line("1e999") + f'{{"at": "{AT}", "at": "{AT}", "v": 1e999}}\n'
    given = written(tmp_path, text, {"at": "timestamp", "v": "float64"}, on_bad_value={"v": "null"})
    with pytest.raises(ContractError, match="line 2: a name is there twice"):
        read_by_policy(given)


def test_a_line_with_a_value_to_quarantine_is_set_aside_as_it_is_m14(tmp_path):
    bad = f'{{"at": "{AT}",  "v": "0000-00-00"}}'
    text = line('"2025-02-01"') + bad + "\n" + line("null")
    given = written(tmp_path, text, {"at": "timestamp", "v": "date"}, on_bad_value={"v": "quarantine"})
    table, touched, [row] = read_by_policy(given)
    assert (table["v"].to_pylist(), touched) == ([date(2025, 2, 1), None], {})
    assert (row["row_text"], row["bad_column"], row["bad_value"]) == (bad, "v", "0000-00-00")
    assert row["row_cursor"] == datetime(2025, 11, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (line('"a"')[:-3], "line 4: .*cut off"),
        (line('"a"')[:-1], "line 4: .*cut off"),
        (line('"a"')[:-2] + "\n", "line 4: "),
        (line('"a"')[:-1] + line('"b"'), "line 4: .*trailing"),
        ('{"at":\n' + f'"{AT}"' + "}\n", "line 4: "),
        ("\n", "line 4: the line is empty"),
        ("null\n", "line 4: Expected `object`"),
        ("[]\n", "line 4: Expected `object`"),
        (line("NaN"), "line 4: "),
        (line('"\\ud800"'), "line 4: "),
        (line("[" * 3000 + "]" * 3000), "line 4: "),
        (line('"a", "w": 1'), "line 4, has column 'w'"),
        (line('"a", "v": "b"'), "line 4: a name is there twice"),
        (line('"a"').replace(AT, "soon"), "line 4: column 'at' .*'soon'"),
        (line('"a"').replace(f'"{AT}"', "5"), "line 4: "),
        (line('"\xff"').encode("latin-1"), "line 4: it is not UTF-8"),
    ],
)
@pytest.mark.parametrize("block", [8 * 1024 * 1024, 64])
def test_a_line_that_is_no_row_is_an_error_that_names_it_h2(tmp_path, monkeypatch, block, text, words):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block)
    before = (line('"a"') * 3).encode()
    with pytest.raises(ContractError, match=words) as caught:
        values(tmp_path, before + (text if isinstance(text, bytes) else text.encode()))
    assert "a.ndjson" in caught.value.message
    assert caught.value.hint


def test_a_line_longer_than_the_limit_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)
    monkeypatch.setattr(lines, "LINE_BYTES", 500)
    long = line(f'"{"x" * 400}"')
    assert len(values(tmp_path, long)) == 1
    with pytest.raises(ContractError, match="line 2: it is longer than 500 bytes"):
        values(tmp_path, long + line(f'"{"x" * 600}"'))


@pytest.mark.parametrize("block", [1, 7, 100, 8 * 1024 * 1024])
def test_rows_are_the_same_over_block_borders(tmp_path, monkeypatch, block):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block)
    assert values(tmp_path, "".join(line(f'"{n} é"') for n in range(50))) == [f"{n} é" for n in range(50)]


def test_a_missing_end_is_accepted_where_it_is_declared_so(tmp_path):
    assert values(tmp_path, line('"a"')[:-1], final_newline="optional") == ["a"]
    with pytest.raises(ContractError, match="line 1"):
        values(tmp_path, line('"a"')[:-2], final_newline="optional")


def test_a_field_that_is_not_there_is_null_and_an_excluded_one_is_not_read(tmp_path):
    text = f'{{"at": "{AT}"}}\r\n{{"v": "a", "x": {{"y": 1}}, "at": "{AT}"}}\r\n'
    assert values(tmp_path, text, exclude=["x*"]) == [None, "a"]


def test_an_empty_file_is_a_file_without_rows(tmp_path):
    assert values(tmp_path, "") == []


def test_the_contract_is_the_declaration(tmp_path):
    found = contract(written(tmp_path, "", {"v": "json", "at": "timestamp_ns", "d": "decimal(9,3)"}, key=["d"]))
    assert [str(type_) for type_ in found.schema.types] == ["string", "timestamp[ns, tz=UTC]", "decimal128(9, 3)"]
    assert is_json(found.schema.field("v"))
    assert (found.cursor, found.key) == ("at", ("d",))
