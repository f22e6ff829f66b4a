"""Pipelines proposed for the tables of a database: `sluiceway init --from mysql://…`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.mysql.catalog import Relation, look_up
from connectors.mysql.columns import Declared, quoted
from connectors.mysql.explaining import INNODB, SMALL_ROWS
from connectors.mysql.pool import Pool
from connectors.mysql.proposing_columns import Decided, decided
from connectors.mysql.session import Session
from connectors.mysql.settings import MysqlSettings
from connectors.mysql.source import Source, examine
from connectors.mysql.statements import LEAST
from connectors.proposals import Access, Meaning, Proposal, Proposed, Setting, Unproposed, is_wanted, meaning
from state.errors import ConfigurationError, ContractError
from state.port import Port, direct

TABLES = """SELECT table_name, table_type FROM information_schema.tables
WHERE table_schema = %s AND table_type <> 'SYSTEM VIEW' ORDER BY table_name"""
ZONE = "SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@GLOBAL.time_zone))"
COUNTED_ROWS = 1_000_000
"""Of a table whose rows are counted; of a larger one the server's estimate is told."""
DATES = ("timestamp", "datetime", "date")
UNFOUND = "sluiceway"
"""Stands for the table while it is not known."""


@dataclass(frozen=True)
class Dates:
    """A column that could be the cursor. `moves`: the server itself sets it with every change."""

    declared: Declared
    meaning: Meaning
    moves: bool
    indexed: bool

    @property
    def likelihood(self) -> tuple[Any, ...]:
        one = self.declared
        return self.meaning, not self.moves, one.data_type == "date", not self.indexed, one.nullable, one.name


async def propose(access: Access, patterns: Sequence[str], port: Port = direct) -> Proposed:
    """A pipeline for each table that the globs are for. Views are named, and not proposed: they declare no key.

    Raises as `Connector.contract` does where the server cannot be asked; a table that cannot be read is told.
    """
    settings = settings_of(access)
    pool = Pool(settings)
    try:
        with port("source.proposals"):
            async with pool.questions() as session:
                named = await session.rows("listing the tables of", TABLES, settings.database)
                [(version,)] = await session.rows("asking for the version of", "SELECT VERSION()")
                server = f"{'MariaDB' if session.is_mariadb else 'MySQL'} {version}"
            judged = [
                await _judged(pool, settings, name, kind) for name, kind in named if is_wanted(name, patterns)
            ]
    finally:
        await pool.aclose()
    found = [one for one in judged if isinstance(one, Proposal)]
    left = [one for one in judged if isinstance(one, Unproposed)]
    return Proposed(server, connection_of(settings), found, left)


def settings_of(access: Access) -> MysqlSettings:
    """Settings that reach the server; tables and cursors are still to be found. Raises `ConfigurationError`."""
    if not access.user or not access.path or "/" in access.path:
        raise ConfigurationError(
            "the URL names no user, or not one database",
            hint="Write it like mysql://reader@db.company.com:3306/shop.",
            code="source_url",
            path="--from",
        )
    return MysqlSettings.model_validate(
        {
            "type": access.scheme,
            "host": access.host,
            "port": access.port or 3306,
            "user": access.user,
            "password": access.password,
            "database": access.path,
            "table": UNFOUND,
            "tls": access.options.get("tls", "true").lower() not in ("false", "0", "no"),
            "ca_file": access.options.get("ca_file"),
        }
    )


def connection_of(settings: MysqlSettings) -> dict[str, Any]:
    """What all tables share."""
    shared = settings.model_dump(mode="json", exclude_unset=True, exclude={"table"})
    usual = {"tls": True, "ca_file": None}
    return {key: value for key, value in shared.items() if value != usual.get(key, ...)}


async def _judged(pool: Pool, base: MysqlSettings, table: str, kind: str) -> Proposal | Unproposed:
    """What is proposed for one table, or why nothing is."""
    if "VIEW" in kind.upper():
        return Unproposed(table, "a view: it declares no key; write its configuration with `sluiceway init`")
    settings = base.model_copy(update={"table": table})
    try:
        async with pool.questions() as session:
            return await _proposed(session, settings, await look_up(session, settings, table))
    except (ConfigurationError, ContractError) as error:
        return Unproposed(table, f"{error.message}. {error.hint}".rstrip(". "))


async def _proposed(session: Session, settings: MysqlSettings, relation: Relation) -> Proposal | Unproposed:
    rows, dates = await _rows(session, relation), candidates(relation)
    if rows <= SMALL_ROWS and _is_best_whole(relation, dates):
        return await _whole(session, settings, relation, rows, dates)
    if reason := _why_not(relation, dates, rows):
        return Unproposed(relation.name, reason)
    cursor = dates[0]
    columns = await decided(session, settings, relation, skip=cursor.declared.name)
    chosen = _chosen(settings, relation, columns).model_copy(update={"cursor": cursor.declared.name})
    placed = await _placed(session, chosen, _fallback(cursor, dates, rows))
    source = await examine(session, placed)
    first, last = await _ends(session, source)
    ahead = 0 if cursor.declared.data_type == "timestamp" else await session.one("asking for the zone of", ZONE)
    shown = [
        Setting("cursor", cursor.declared.name, " ".join([*_reasons(dates), *_about_zone(ahead)])),
        *_about_absent(placed, await _absent(session, source)),
    ]
    return Proposal(
        relation.name,
        rows,
        relation.key,
        cursor.declared.name,
        cursor.meaning,
        first,
        last,
        tuple(_settings(relation, columns, shown)),
        append=not relation.key,
        whole_days=cursor.declared.data_type == "date",
        behind_seconds=max(0, -ahead),
        notes=columns.notes,
    )


async def _whole(
    session: Session, settings: MysqlSettings, relation: Relation, rows: int, dates: Sequence[Dates]
) -> Proposal:
    """The whole table at each run. Raises as `Connector.contract` does."""
    columns = await decided(session, settings, relation, skip="")
    await examine(session, _chosen(settings, relation, columns))
    why = "No date tells when a row changed." if dates else "There is no date."
    notes = (*columns.notes, f"{why} Above {SMALL_ROWS:,} rows, give it one with an index, and a cursor.")
    shown = tuple(_settings(relation, columns, []))
    return Proposal(relation.name, rows, relation.key, None, Meaning.HAPPENED, None, None, shown, notes=notes)


def _chosen(settings: MysqlSettings, relation: Relation, columns: Decided) -> MysqlSettings:
    return settings.model_copy(
        update={
            "key": relation.key,
            "columns": settings.columns.model_copy(update=columns.settings),
            "consistent": relation.engine == INNODB,
        }
    )


def candidates(relation: Relation) -> list[Dates]:
    """Columns that could be the cursor, the likeliest first."""
    found = []
    for one in relation.columns:
        if one.data_type in DATES:
            moves = "on update current_timestamp" in one.extra.lower()
            means = Meaning.CHANGED if moves else meaning(one.name)
            found.append(Dates(one, means, moves, relation.is_indexed(one.name)))
    return sorted(found, key=lambda one: one.likelihood)


def _is_best_whole(relation: Relation, dates: Sequence[Dates]) -> bool:
    """True if windows would miss changes of a table that is small enough to be read whole."""
    return not dates or dates[0].meaning is Meaning.HAPPENED or not (relation.key or _is_steady(dates[0]))


def _is_steady(date: Dates) -> bool:
    return date.meaning is Meaning.CREATED and not date.declared.nullable


def _why_not(relation: Relation, dates: Sequence[Dates], rows: int) -> str:
    """Why the table is not proposed; empty if it is."""
    if not dates:
        return f"it has no date or timestamp to cut windows by, and {rows:,} rows"
    best = dates[0]
    name = quoted(best.declared.name)
    if not best.indexed and rows > SMALL_ROWS:
        return (
            f"no index begins with {best.declared.name}, and each window would pass over {rows:,} rows:"
            f" CREATE INDEX … ON {relation.sql} ({name})"
        )
    if not relation.key and not _is_steady(best):
        return f"it has no primary key and no unique one without NULL, and {best.declared.name} may change"
    return ""


def _fallback(cursor: Dates, dates: Sequence[Dates], rows: int) -> str | None:
    """Another column of the same type that places rows where the cursor is NULL, and can be found as fast."""
    mine = cursor.declared
    for other in dates[1:]:
        one = other.declared
        alike = (one.data_type, one.datetime_precision) == (mine.data_type, mine.datetime_precision)
        if mine.nullable and alike and not one.nullable and (other.indexed or rows <= SMALL_ROWS):
            return one.name
    return None


async def _placed(session: Session, settings: MysqlSettings, fallback: str | None) -> MysqlSettings:
    """`settings` under which every row that can be placed is, and the others are left out."""
    if not await _absent(session, await examine(session, settings)):
        return settings
    if fallback is not None:
        settings = settings.model_copy(update={"cursor_fallback": fallback})
        if not await _absent(session, await examine(session, settings)):
            return settings
    return settings.model_copy(update={"null_cursor": "ignore"})


async def _absent(session: Session, source: Source) -> int:
    return await session.one("counting rows without a cursor of", source.chosen.statements.absent())


async def _rows(session: Session, relation: Relation) -> int:
    if relation.rows > COUNTED_ROWS:
        return relation.rows
    return await session.one("counting", f"SELECT COUNT(*) FROM {relation.sql}")


async def _ends(session: Session, source: Source) -> tuple[datetime | None, datetime | None]:
    """The least and the greatest cursor; None where no row has one."""
    statements = source.chosen.statements
    placed = statements.placed
    least = statements.cursor.literal(LEAST)
    ask = f"SELECT MIN({placed}), MAX({placed}) FROM {statements.relation} WHERE {placed} >= {least}"
    [(first, last)] = await session.rows("looking for the first and the last row of", ask)
    return _instant(first), _instant(last)


def _instant(text: str | None) -> datetime | None:
    """A date or a wall time, taken as UTC; of one that is no day the last midnight before it."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        year, month, day = (int(part) for part in text[:10].split("-"))
        first = datetime(year, month or 1, 1, tzinfo=UTC)
        return first if month and day else first - timedelta(days=1)


def _about_zone(ahead: int) -> list[str]:
    """What a wall time means in a zone so many seconds ahead of UTC."""
    if not ahead:
        return []
    said = f"The server's own zone is {abs(ahead):,} s {'ahead of' if ahead > 0 else 'behind'} UTC:"
    if ahead > 0:
        return [f"{said} if rows are written in it, they are loaded so much later."]
    return [f"{said} if rows are written in it, they come so late, and windows.lookback_seconds covers that."]


def _about_absent(settings: MysqlSettings, absent: int) -> list[Setting]:
    """What was decided of rows without a cursor."""
    found = []
    if settings.cursor_fallback is not None:
        why = f"Rows whose {settings.cursor} is NULL are placed by it."
        found.append(Setting("cursor_fallback", settings.cursor_fallback, why))
    if settings.null_cursor == "ignore":
        why = f"{absent:,} rows have none, or a zero date: no window holds them, each part reports them."
        found.append(Setting("null_cursor", "ignore", why))
    return found


def _settings(relation: Relation, columns: Decided, cursor: Sequence[Setting]) -> list[Setting]:
    found = [Setting("table", relation.name), *cursor]
    if relation.key:
        found.append(Setting("key", list(relation.key), _about_key(relation)))
    if relation.engine != INNODB:
        why = f"{relation.engine} has no snapshots: the proof says so. Convert it to InnoDB if you can."
        found.append(Setting("consistent", False, why))
    return [*found, *columns.shown]


def _about_key(relation: Relation) -> str:
    return "" if any(index.name == "PRIMARY" for index in relation.indexes) else "A unique key without NULL."


def _reasons(dates: Sequence[Dates]) -> list[str]:
    """Why this date, and not another."""
    best, others = dates[0], dates[1:]
    said = {
        Meaning.CHANGED: "By its name it moves with every change; a change that does not move it is not seen.",
        Meaning.ARRIVED: "By its name the instant when a row came; later changes are not seen.",
        Meaning.CREATED: "By its name the instant when a row was made; later changes are not seen.",
        Meaning.HAPPENED: "No date tells when a row came or changed: what comes late or changes later is seen only"
        " inside windows.lookback_seconds.",
    }
    found = ["The server moves it with every change (ON UPDATE)." if best.moves else said[best.meaning]]
    if best.declared.data_type != "timestamp":
        found.append(f"A {best.declared.data_type.upper()} has no zone and is taken as UTC.")
    if not best.indexed:
        found.append("No index begins with it: fine while the table is small.")
    if others:
        found.append(f"Other dates: {', '.join(one.declared.name for one in others[:6])}.")
    return found
