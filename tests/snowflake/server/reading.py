"""What COPY reads from a staged file: which column goes where, and how."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tests.snowflake.server import catalog, translate, vendor
from tests.snowflake.server.model import Name, SnowflakeError
from tests.snowflake.server.names import literal, parts, quoted

if TYPE_CHECKING:
    from tests.snowflake.server.copying import Copy

METADATA = {
    "METADATA$FILENAME": "sw_name",
    "METADATA$FILE_ROW_NUMBER": "sw_number",
    "METADATA$FILE_LAST_MODIFIED": "sw_modified",
    "METADATA$START_SCAN_TIME": "sw_scanned",
    "METADATA$FILE_CONTENT_KEY": "sw_key",
}
ELEMENT = re.compile(r'(?:(?P<alias>[A-Za-z_]\w*)\.)?\$1:(?P<name>"(?:[^"]|"")*"|[A-Za-z_]\w*)')
FIELD = re.compile(r"(?:[A-Za-z_]\w*\.)?\$(\d+)(?!\d*:)")
TEXT = "VARCHAR"


@dataclass(frozen=True)
class Source:
    """One file. `values`: a query with one column for each of `targets`, not yet cast to its type."""

    targets: list[catalog.TableColumn]
    values: str
    count: str

    def select(self, where: str = "true") -> str:
        cast = ", ".join(f"CAST({quoted(one.name)} AS {one.duck})" for one in self.targets)
        return f"SELECT {cast} FROM ({self.values}) WHERE {where}"

    def parsed(self, duck: Any) -> int:
        return int(duck.execute(self.count).fetchone()[0])

    def bad_column(self, one: catalog.TableColumn) -> str:
        """True for a row whose value does not fit this column."""
        name = quoted(one.name)
        wrong = f"({name} IS NOT NULL AND TRY_CAST({name} AS {one.duck}) IS NULL)"
        return wrong if one.nullable else f"({wrong} OR {name} IS NULL)"

    def bad(self) -> str:
        return " OR ".join(self.bad_column(one) for one in self.targets) or "false"


class Reader(Protocol):
    def source(self, path: str) -> Source:
        """The file at a path of the stage."""


def reader(copy: Copy) -> Reader:
    """Raises 002019 for a way to load that Snowflake does not offer."""
    format_ = copy.options.get("FILE_FORMAT", {})
    kind = str(format_.get("TYPE", "CSV")).upper() if isinstance(format_, dict) else "CSV"
    files = {"PARQUET": Parquet, "CSV": Csv, "JSON": Json}.get(kind)
    if files is None:
        raise catalog.refuse(f"FILE_FORMAT TYPE = {kind}")
    found = files(copy, format_)
    if copy.query is not None:
        return Transform(copy, found)
    if str(copy.options.get("MATCH_BY_COLUMN_NAME", "NONE")).upper() != "NONE":
        return Matched(copy, found)
    return Positional(copy, found)


class Files:
    """Files of one format; a relation over one has the file's columns, and those of `METADATA`."""

    semi = True

    def __init__(self, copy: Copy, options: dict[str, Any]) -> None:
        self.copy = copy
        self.options = options
        self.nulls = [str(one) for one in _listed(options.get("NULL_IF", ["\\N"]))]

    def file(self, path: str) -> Path:
        return self.copy.stage.folder / path

    def columns(self, path: str) -> dict[str, str]:
        """Name and DuckDB type of each column."""
        found = self.copy.statement.session.duck.execute(f"DESCRIBE SELECT * FROM {self.scan(path)}").fetchall()
        return {name: kind for name, kind, *_ in found if name != "file_row_number"}

    def scan(self, path: str) -> str:
        raise NotImplementedError

    def relation(self, path: str) -> str:
        """The file with its metadata columns."""
        file = self.file(path)
        told = file.stat()
        return (
            f"(SELECT *, {literal(path)} AS sw_name, {self.number} AS sw_number,"
            f" make_timestamp({int(told.st_mtime * 1_000_000)}) AS sw_modified,"
            f" CAST({literal(self.copy.statement.now.isoformat())} AS TIMESTAMPTZ) AS sw_scanned,"
            f" {literal(path)} AS sw_key FROM {self.scan(path)})"
        )

    number = "file_row_number + 1"

    def value(self, name: str, kind: str, text: Callable[[str], str] = literal) -> str:
        """A column's value: NULL_IF holds for texts. `text` writes a constant."""
        sql = quoted(name)
        if kind == TEXT and self.nulls:
            sql = f"CASE WHEN {sql} IN ({', '.join(text(one) for one in self.nulls)}) THEN NULL ELSE {sql} END"
        return sql


def escaped(text: str) -> str:
    """A text constant for Snowflake, where a backslash escapes."""
    return literal(text.replace("\\", "\\\\"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value == {} else [value]


class Parquet(Files):
    def scan(self, path: str) -> str:
        as_text = self.options.get("BINARY_AS_TEXT", True)
        told = f", binary_as_string = {'true' if as_text else 'false'}"
        return f"read_parquet({literal(_escaped(self.file(path)))}, file_row_number = true{told})"


class Csv(Files):
    semi = False
    number = "row_number() OVER ()"

    def scan(self, path: str) -> str:
        options = self.options
        delimiter = str(options.get("FIELD_DELIMITER", ","))
        quote = options.get("FIELD_OPTIONALLY_ENCLOSED_BY")
        told = f"delim = {literal(delimiter)}, skip = {int(options.get('SKIP_HEADER', 0))}, header = false"
        told += (
            f", quote = {literal(str(quote)) if quote and quote != 'NONE' else literal('')}, all_varchar = true"
        )
        return f"read_csv({literal(_escaped(self.file(path)))}, {told}, auto_detect = true, null_padding = true)"


class Json(Files):
    number = "row_number() OVER ()"

    def scan(self, path: str) -> str:
        return f"read_json_auto({literal(_escaped(self.file(path)))})"


def _escaped(path: Path) -> str:
    """DuckDB reads file names as patterns."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


@dataclass(frozen=True)
class Positional:
    """COPY without a transformation and without names: CSV by place; a Parquet or JSON row is one VARIANT."""

    copy: Copy
    files: Files

    def source(self, path: str) -> Source:
        targets = targets_of(self.copy)
        columns = self.files.columns(path)
        if not self.files.semi:
            return self._by_place(path, targets, columns)
        if len(targets) != 1 or targets[0].duck != "JSON":
            raise SnowflakeError(
                "002019",
                "0A000",
                f"{vendor.COMPILATION}PARQUET file format can produce one and only one column of type variant,"
                " object, or array. Load data into separate columns using the MATCH_BY_COLUMN_NAME copy option or"
                " copy with transformation.",
            )
        packed = ", ".join(f"{quoted(name)} := {self.files.value(name, kind)}" for name, kind in columns.items())
        scan = self.files.scan(path)
        values = f"SELECT to_json(struct_pack({packed})) AS {quoted(targets[0].name)} FROM {scan}"
        return Source(targets, values, f"SELECT count(*) FROM {scan}")

    def _by_place(self, path: str, targets: list[catalog.TableColumn], columns: dict[str, str]) -> Source:
        if len(columns) != len(targets):
            raise SnowflakeError(
                "100080",
                "22000",
                f"Number of columns in file ({len(columns)}) does not match that of the corresponding table"
                f" ({len(targets)}), use file format option error_on_column_count_mismatch=false to ignore this"
                " error",
            )
        scan = self.files.scan(path)
        listed = ", ".join(
            f"{self.files.value(name, kind)} AS {quoted(target.name)}"
            for (name, kind), target in zip(columns.items(), targets, strict=True)
        )
        return Source(targets, f"SELECT {listed} FROM {scan}", f"SELECT count(*) FROM {scan}")


def targets_of(copy: Copy) -> list[catalog.TableColumn]:
    """The columns that are loaded, in the order of the statement."""
    known = {one.name: one for one in catalog.columns(copy.statement.session, copy.at)}
    if copy.columns is None:
        return list(known.values())
    if missing := [name for name in copy.columns if name not in known]:
        raise SnowflakeError("000904", "42000", f"{vendor.COMPILATION}invalid identifier '{missing[0]}'")
    return [known[name] for name in copy.columns]


@dataclass(frozen=True)
class Matched:
    """MATCH_BY_COLUMN_NAME. What has no counterpart on the other side is left out, or NULL, without a word."""

    copy: Copy
    files: Files

    def source(self, path: str) -> Source:
        columns, folded = self.files.columns(path), self._folded
        there = {folded(name): (name, kind) for name, kind in reversed(columns.items())}
        metadata = {
            parts(str(target))[0]: METADATA[str(of).upper()]
            for target, of in self.copy.options.get("INCLUDE_METADATA", {}).items()
        }
        targets, listed = [], []
        for one in targets_of(self.copy):
            if one.name in metadata:
                listed.append(f"{metadata[one.name]} AS {quoted(one.name)}")
            elif (found := there.get(folded(one.name))) is not None:
                listed.append(f"{self._value(*found, one)} AS {quoted(one.name)}")
            elif not one.nullable:
                listed.append(f"NULL AS {quoted(one.name)}")
            else:
                continue
            targets.append(one)
        if not targets:
            targets = targets_of(self.copy)[:1]
            listed = [f"NULL AS {quoted(targets[0].name)}"]
        scan = self.files.scan(path)
        return Source(
            targets, f"SELECT {', '.join(listed)} FROM {self.files.relation(path)}", f"SELECT count(*) FROM {scan}"
        )

    def _folded(self, name: str) -> str:
        insensitive = str(self.copy.options["MATCH_BY_COLUMN_NAME"]).upper() == "CASE_INSENSITIVE"
        return name.upper() if insensitive else name

    def _value(self, name: str, kind: str, target: catalog.TableColumn) -> str:
        return into(self.files.value(name, kind), kind, target)


def into(sql: str, kind: str, target: catalog.TableColumn) -> str:
    """A value on its way to a column: text becomes a string inside VARIANT, unparsed; text for BINARY is hex."""
    if target.duck == "JSON" and kind != "JSON":
        return f"to_json({sql})"
    if target.duck == "BLOB" and kind == TEXT:
        return f"unhex({sql})"
    return sql


@dataclass(frozen=True)
class Transform:
    """COPY with a query over the file: `$1:name` of Parquet and JSON, `$1`, `$2` of CSV."""

    copy: Copy
    files: Files

    def source(self, path: str) -> Source:
        statement = self.copy.statement
        columns = self.files.columns(path)
        sql = self.copy.query or ""
        if self.files.semi:
            sql = ELEMENT.sub(lambda found: self._element(found, columns), sql)
        else:
            sql = FIELD.sub(lambda found: self._field(found, columns), sql)
        for name, column in METADATA.items():
            sql = re.sub(rf"(?:[A-Za-z_]\w*\.)?{re.escape(name)}\b", f'"{column}"', sql, flags=re.IGNORECASE)
        place = Name(self.copy.name.database, self.copy.name.schema, "sw_file").duck
        query = translate.prepared(replace(statement, text=f"{sql} FROM {place}"))
        source = translate.translated(statement, query).replace(place, self.files.relation(path))
        targets = targets_of(self.copy)
        kinds = statement.session.duck.execute(f"DESCRIBE {source}").fetchall()
        if len(kinds) != len(targets):
            raise SnowflakeError(
                "002020",
                "21S01",
                f"{vendor.COMPILATION}Insert value list does not match column list expecting"
                f" {len(targets)} but got {len(kinds)}",
            )
        listed = ", ".join(
            f"{into(f'c{place}', kind[1], target)} AS {quoted(target.name)}"
            for place, (kind, target) in enumerate(zip(kinds, targets, strict=True))
        )
        aliases = ", ".join(f"c{place}" for place in range(len(targets)))
        values = f"SELECT {listed} FROM ({source}) AS q({aliases})"
        return Source(targets, values, f"SELECT count(*) FROM {self.files.scan(path)}")

    def _element(self, found: re.Match[str], columns: dict[str, str]) -> str:
        """An element of a row has its name in exactly this spelling, or is NULL."""
        spelled = found["name"]
        name = spelled[1:-1].replace('""', '"') if spelled.startswith('"') else spelled
        return self.files.value(name, columns[name], escaped) if name in columns else "NULL"

    def _field(self, found: re.Match[str], columns: dict[str, str]) -> str:
        listed = list(columns.items())
        place = int(found[1]) - 1
        return self.files.value(*listed[place], escaped) if place < len(listed) else "NULL"
