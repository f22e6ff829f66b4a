"""CSV as a source: exactly what is written, or an error that names file and row."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from connectors.files import csv as csv_format
from state.contract import is_json
from state.errors import ConfigurationError, ContractError
from tests.unit.files import contract, read, read_by_policy, settings

AT = "2025-11-15T00:00:00Z"
TYPES = {"at": "timestamp", "v": "string"}


def written(folder: Path, text: str | bytes, types=TYPES, **given):
    """Settings over one file with this text."""
    (folder / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return settings(folder / "*.csv", format="csv", types=types, **given)


def values(folder: Path, text: str | bytes, word: str = "string", **given) -> list:
    """Column `v` of a file whose other column is the cursor."""
    return read(written(folder, text, {"at": "timestamp", "v": word}, **given))["v"].to_pylist()


def one(folder: Path, value: str, word: str, **given):
    [found] = values(folder, f"at,v\n{AT},{value}\n", word, **given)
    return found


@pytest.mark.parametrize(
    ("word", "text", "value"),
    [
        ("string", "NULL", "NULL"),
        ("string", "", None),
        ("string", '""', ""),
        ("string", '"a\nb, ""c"""', 'a\nb, "c"'),
        ("string", "späť 😀", "späť 😀"),
        ("bool", "true", True),
        ("bool", "0", False),
        ("int8", "-128", -128),
        ("int16", "32767", 32767),
        ("int32", "-2147483648", -(2**31)),
        ("int64", "9007199254740993", 2**53 + 1),
        ("int64", "", None),
        ("float64", "0.1", 0.1),
        ("float64", "", None),
        ("decimal(18,2)", "9007199254740993.01", Decimal("9007199254740993.01")),
        ("decimal(38,0)", "9" * 38, Decimal("9" * 38)),
        ("decimal(18,2)", "1.5", Decimal("1.50")),
        ("date", "2025-02-28", date(2025, 2, 28)),
        ("timestamp", "2025-11-15T10:00:00.123456+01:00", datetime(2025, 11, 15, 9, 0, 0, 123456, UTC)),
        ("timestamp", "2025-11-15 10:00", datetime(2025, 11, 15, 10, tzinfo=UTC)),
        ("timestamp", "1969-12-31T23:59:59.999999Z", datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)),
        ("timestamp", "", None),
        ("json", '"{""a"": 1.0, ""b"": [9007199254740993]}"', '{"a": 1.0, "b": [9007199254740993]}'),
        ("binary", "aGk=", b"hi"),
        ("binary", "", None),
    ],
)
def test_a_value_is_read_exactly(tmp_path, word, text, value):
    assert one(tmp_path, text, word) == value
    assert one(tmp_path, text, word, on_bad_value={"v": "null"}) == value


def test_nanoseconds_are_kept(tmp_path):
    given = written(
        tmp_path, f"at,v\n{AT},2025-11-15T00:00:00.123456789Z\n", {"at": "timestamp", "v": "timestamp_ns"}
    )
    assert read(given)["v"][0].value == 1763164800_123456789


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("bool", "yes"),
        ("int8", "128"),
        ("int64", "9223372036854775808"),
        ("int64", "1.0"),
        ("int64", '""'),
        ("float64", "1e400"),
        ("float64", "nan"),
        ("decimal(18,2)", "1.005"),
        ("decimal(4,2)", "100.00"),
        ("date", "2025-02-30"),
        ("date", "15.11.2025"),
        ("timestamp", "2025-11-15"),
        ("timestamp", "2025-11-15T10:00:00.1234567Z"),
        ("timestamp", "1763164800000"),
        ("timestamp", "2025-11-15T25:00:00Z"),
        ("timestamp_ns", "1600-01-01T00:00:00Z"),
        ("json", "{a}"),
        ("binary", "no base64!"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_that_names_file_row_and_column(tmp_path, word, text):
    good = one(tmp_path, "", word)
    assert good is None
    lines = "".join(f"{AT},\n" for _ in range(5))
    with pytest.raises(ContractError, match=r"a\.csv, row 7") as caught:
        values(tmp_path, f"at,v\n{lines}{AT},{text}\n{AT},\n", word)
    assert "'v'" in caught.value.message or "column #" in caught.value.message
    types = {"at": "timestamp", "v": word}
    given = written(tmp_path, f"at,v\n{AT},{text}\n{AT},\n", types, on_bad_value={"v": "null"})
    table, touched, _ = read_by_policy(given)
    assert (table["v"].to_pylist(), touched) == ([None, None], {"v": 1})


def test_a_row_with_a_value_to_quarantine_is_set_aside_and_the_others_are_read_m14(tmp_path):
    days = [f"2025-02-{day:02d}" for day in range(1, 32)]
    text = "at,v,n\n" + "".join(f"{AT},{day},{n}\n" for n, day in enumerate(days))
    types = {"at": "timestamp", "v": "date", "n": "int8"}
    given = written(tmp_path, text, types, on_bad_value={"v": "quarantine", "n": "null"})
    table, touched, aside = read_by_policy(given)
    assert (table.num_rows, touched) == (28, {})
    assert [(row["bad_column"], row["bad_value"], row["reason"]) for row in aside] == [
        ("v", day, "no date") for day in days[28:]
    ]
    assert aside[0]["row_text"] == f'{{"at":"{AT}","v":"2025-02-29","n":"28"}}'
    assert aside[0]["row_cursor"] == datetime(2025, 11, 15, tzinfo=UTC)


def test_a_column_of_text_keeps_what_does_not_fit_and_counts_it_m14(tmp_path):
    given = written(tmp_path, f"at,v\n{AT},07\n{AT},many\n{AT},\n", {"at": "timestamp", "v": "int8"})
    given = given.model_copy(update={"on_bad_value": {"v": "text"}})
    table, touched, _ = read_by_policy(given)
    assert (table["v"].to_pylist(), touched) == (["07", "many", None], {"v": 1})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"on_bad_value": {"at": "quarantine"}}, "cannot be quarantine"),
        ({"on_bad_value": {"v": "null"}, "key": ("v",)}, "cannot be null"),
        ({"on_bad_value": {"w": "null"}}, "names w"),
        ({"on_bad_value": {"v": "null"}, "format": "parquet", "types": {}}, "always fit"),
    ],
)
def test_policies_that_cannot_be_are_refused(tmp_path, given, words):
    with pytest.raises(ValueError, match=words):
        settings(tmp_path / "*", **{"format": "csv", "types": TYPES, **given})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"at,v\n{AT},a\n{AT}\n", "row 3.*Expected 2 columns, got 1"),
        (f"at,v\n{AT},a\n{AT},b,c\n", "row 3.*Expected 2 columns, got 3"),
        (f"at\n{AT}\n", "no column 'v'"),
        (f"at,v,w\n{AT},a,b\n", "column 'w', which source_system.types does not name"),
        (f"at,v,v\n{AT},a,b\n", "'v' is there twice"),
        ("", "no column 'at'"),
        (f'at,v\n{AT},"a\nb\n', "last row.*not closed"),
        (f"at,v\n{AT},ab", "does not end with a line break"),
        (f"at,v\n{AT},a\n{AT},".encode() + b"\xff\n", "row 3.*UTF8"),
        (b"at,v\xff\n", "the header is not UTF-8"),
        (f"at,v\n{AT},a\n\n", "1 rows .* no value in their cursor 'at'"),
    ],
)
def test_a_file_that_is_not_as_declared_is_an_error(tmp_path, text, words):
    """H-2: what may have been cut is refused."""
    with pytest.raises(ContractError, match=words) as caught:
        values(tmp_path, text)
    assert caught.value.hint


def test_a_row_may_be_longer_than_a_block_but_not_than_the_limit(tmp_path, monkeypatch):
    """It is found in larger blocks, up to a limit, and rows before it come once."""
    monkeypatch.setattr(csv_format, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_format, "ROW_BYTES", 256)
    texts = [str(n) for n in range(50)]
    body = "".join(f"{AT},{text}\n" for text in texts)
    assert values(tmp_path, f"at,v\n{body}{AT},{'x' * 200}\n{AT},y\n") == [*texts, "x" * 200, "y"]
    with pytest.raises(ContractError, match=r"row \d+ or later: a row is longer than 256 bytes"):
        values(tmp_path, f"at,v\n{body}{AT},{'x' * 600}\n")


def test_a_row_keeps_its_number_over_block_borders(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_format, "BLOCK_BYTES", 64)
    with pytest.raises(ContractError, match=r"row 101.*'v' \(json\)"):
        values(tmp_path, f"at,v\n{f'{AT},1{chr(10)}' * 99}{AT},]\n{AT},1\n", "json")


def test_rows_are_the_same_over_block_borders(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_format, "BLOCK_BYTES", 100)
    texts = [f"{n}\n{n}" for n in range(200)]
    body = "".join(f'{AT},"{text}"\n' for text in texts)
    assert values(tmp_path, f"at,v\n{body}") == texts


def test_a_missing_end_is_accepted_where_it_is_declared_so(tmp_path):
    assert values(tmp_path, f"at,v\n{AT},ab", final_newline="optional") == ["ab"]


def test_what_means_null_is_declared(tmp_path):
    text = f'at,v\n{AT},NULL\n{AT},"NULL"\n{AT},\n'
    assert values(tmp_path, text, null_values=["NULL"]) == [None, "NULL", ""]
    assert values(tmp_path, text, null_values=[]) == ["NULL", "NULL", ""]


def test_another_delimiter_byte_order_mark_and_line_ends(tmp_path):
    text = b"\xef\xbb\xbfat;v\r\n" + AT.encode() + b";a,b\r\n"
    assert values(tmp_path, text, delimiter=";") == ["a,b"]


def test_columns_come_in_the_declared_order_and_excluded_ones_not(tmp_path):
    given = written(tmp_path, f"x,v,y_1,at\n1,a,2,{AT}\n", exclude=["x", "y_*"])
    assert read(given).to_pylist() == [{"at": datetime(2025, 11, 15, tzinfo=UTC), "v": "a"}]


def test_a_header_alone_is_a_file_without_rows(tmp_path):
    assert values(tmp_path, "at,v\n") == []


def test_the_contract_is_the_declaration(tmp_path):
    found = contract(written(tmp_path, "at,v\n", {"at": "timestamp", "v": "json"}, key=["v"]))
    assert [str(type_) for type_ in found.schema.types] == ["timestamp[us, tz=UTC]", "string"]
    assert is_json(found.schema.field("v"))
    assert (found.cursor, found.key) == ("at", ("v",))


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"cursor": "nope"}, "source_system.cursor"),
        ({"cursor": "v"}, "source_system.cursor"),
        ({"key": ["nope"]}, "source_system.key"),
    ],
)
def test_a_column_that_is_configured_must_be_there_and_fit(tmp_path, given, path):
    with pytest.raises(ConfigurationError) as caught:
        contract(written(tmp_path, "at,v\n", **given))
    assert caught.value.path == path
