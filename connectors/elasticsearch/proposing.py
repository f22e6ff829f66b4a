"""Pipelines proposed for the indices of a cluster: `sluiceway init --from https://…`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.elasticsearch.answers import require_whole_now, total
from connectors.elasticsearch.catalog import parsed, target
from connectors.elasticsearch.decode import read_page
from connectors.elasticsearch.mappings import Fields, union
from connectors.elasticsearch.product import detect
from connectors.elasticsearch.proposing_names import Stream, streams
from connectors.elasticsearch.queries import NO_PARTIAL
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.source import Source, examine
from connectors.elasticsearch.transport import Transport
from connectors.proposals import Access, Meaning, Proposal, Proposed, Setting, Unproposed, meaning
from state.contract import is_json
from state.errors import ConfigurationError, ContractError
from state.port import Port, direct

SMALL_ROWS = 100_000
"""Documents of an index that is read whole where it has no date."""
MOST_DATES = 20
"""Date fields of an index that are looked at, the likelier ones first."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
CONFLICT = "mapping_conflict"


@dataclass(frozen=True)
class Dates:
    """A date field and what the index holds of it. `without`: documents that have none."""

    field: str
    meaning: Meaning
    without: int
    first: datetime | None
    last: datetime | None


WHOLE = Dates("", Meaning.HAPPENED, 0, None, None)
"""In the place of a cursor: the whole index, each time."""


async def propose(access: Access, patterns: Sequence[str], port: Port = direct) -> Proposed:
    """A pipeline for each index, data stream or series of indices that the globs are for.

    Raises as `Connector.contract` does where the cluster cannot be asked; an index that cannot be read is told.
    """
    settings = settings_of(access)
    async with _opened(settings, port) as transport:
        product = await detect(transport)
        doing = "listing indices"
        listed = await transport.call("source.indices", doing, "GET", "/_resolve/index/*?expand_wildcards=open")
        found: list[Proposal] = []
        left: list[Unproposed] = []
        for stream in streams(parsed(doing, listed.body), patterns):
            one = await _judged(transport, settings, stream)
            (left if isinstance(one, Unproposed) else found).append(one)  # type: ignore[arg-type]
    kind = "elasticsearch" if product.is_elasticsearch else "opensearch"
    shared = settings.model_dump(mode="json", include={"endpoint", "auth", "ca_file"}, exclude_defaults=True)
    return Proposed(str(product), {"type": kind, **_without_nothing(shared)}, found, left)


def settings_of(access: Access) -> ElasticsearchSettings:
    """Settings that reach the cluster; index and cursor are still to be found."""
    port = "" if access.port is None else f":{access.port}"
    path = f"/{access.path}" if access.path else ""
    auth: dict[str, Any] = {"api_key": access.api_key} if access.api_key is not None else {}
    if access.user is not None:
        auth = {"user": access.user, "password": access.password}
    return ElasticsearchSettings.model_validate(
        {
            "type": "elasticsearch",
            "endpoint": f"{access.scheme}://{access.host}{port}{path}",
            "index": "*",
            "cursor": "@timestamp",
            "auth": auth,
            "ca_file": access.options.get("ca_file"),
        }
    )


@asynccontextmanager
async def _opened(settings: ElasticsearchSettings, port: Port) -> AsyncIterator[Transport]:
    transport = Transport(settings, port)
    try:
        yield transport
    finally:
        await transport.aclose()


async def _judged(transport: Transport, base: ElasticsearchSettings, stream: Stream) -> Proposal | Unproposed:
    """What is proposed for one stream, or why nothing is."""
    settings = base.model_copy(update={"index": stream.name})
    try:
        fields = await _fields(transport, settings)
        rows, dates = await _dates(transport, settings, fields)
        if not dates and rows > SMALL_ROWS:
            return Unproposed(stream.name, f"it has no date field to cut windows by, and {rows:,} documents")
        return await _proposal(transport, settings, stream, rows, dates)
    except (ConfigurationError, ContractError) as error:
        return Unproposed(stream.name, f"{error.message}. {error.hint}".rstrip(". "))


async def _fields(transport: Transport, settings: ElasticsearchSettings) -> Fields:
    doing = f"reading the mappings of {settings.index}"
    answer = await transport.call("source.mapping", doing, "GET", target(settings.index, settings, "_mapping"))
    return union(parsed(doing, answer.body))


def date_fields(fields: Fields) -> list[str]:
    """Fields that can be a cursor in every index that has them, the likeliest first."""
    able = [
        ".".join(path)
        for path, declared in fields.items()
        if all(one.es_type in ("date", "date_nanos") and _is_searchable(one.entry) for one in declared)
    ]
    return sorted(able, key=_likelihood)[:MOST_DATES]


def _is_searchable(entry: Mapping[str, Any]) -> bool:
    return entry.get("index", True) and entry.get("doc_values", True) and "null_value" not in entry


def _likelihood(name: str) -> tuple[int, bool, int, str]:
    return meaning(name), name != "@timestamp", name.count("."), name


async def _dates(transport: Transport, settings: ElasticsearchSettings, fields: Fields) -> tuple[int, list[Dates]]:
    """How many documents there are, and their dates: those that all of them have first, then by likelihood."""
    names = date_fields(fields)
    aggregations = {
        f"{number}.{what}": {what: {"field": name}}
        for number, name in enumerate(names)
        for what in ("min", "max", "missing")
    }
    doing = f"looking at the dates of {settings.index}"
    where = target(settings.index, settings, "_search", NO_PARTIAL)
    body = {"size": 0, "track_total_hits": True, "aggs": aggregations}
    answer = await transport.call("source.dates", doing, "POST", where, body)
    envelope, _ = read_page(answer.body)
    require_whole_now(envelope, doing)
    found = parsed(doing, answer.body).get("aggregations", {})
    dates = [
        Dates(
            name,
            meaning(name),
            int(found[f"{number}.missing"]["doc_count"]),
            _instant(found[f"{number}.min"]["value"]),
            _instant(found[f"{number}.max"]["value"]),
        )
        for number, name in enumerate(names)
    ]
    return total(envelope, doing), sorted(dates, key=lambda one: one.without > 0)


def _instant(value: float | None) -> datetime | None:
    """Milliseconds since 1970; None for the date of no document. Beyond the calendar: its edge."""
    if value is None:
        return None
    try:
        return EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return (datetime.min if value < 0 else datetime.max).replace(tzinfo=UTC)


async def _proposal(
    transport: Transport, settings: ElasticsearchSettings, stream: Stream, rows: int, dates: Sequence[Dates]
) -> Proposal:
    cursor = dates[0] if dates else WHOLE
    key = ("_index", "_id") if stream.grows else ("_id",)
    chosen = settings.model_copy(update={"cursor": cursor.field or None, "key": key})
    source, conflict = await _examined(transport, chosen)
    decided = (
        Setting("index", stream.name, _about(stream)),
        *([Setting("cursor", cursor.field, " ".join(_reasons(cursor, dates[1:])))] if dates else []),
        Setting("key", list(key), _about_key(stream)),
        *([Setting("columns", {"conflicts": "text"}, conflict)] if conflict else []),
    )
    lag = max(120, 2 * max((_seconds(index.refresh) for index in source.indices), default=0))
    return Proposal(
        stream.name,
        rows,
        key,
        cursor.field or None,
        cursor.meaning,
        cursor.first,
        cursor.last,
        decided,
        safety_lag_seconds=lag,
        notes=tuple(_notes(source, cursor)),
    )


async def _examined(transport: Transport, settings: ElasticsearchSettings) -> tuple[Source, str]:
    """The source as a run sees it, and why conflicting fields are text; raises what a run would raise."""
    try:
        return await examine(transport, settings), ""
    except ContractError as error:
        if error.code != CONFLICT:
            raise
        columns = settings.columns.model_copy(update={"conflicts": "text"})
        return (
            await examine(transport, settings.model_copy(update={"columns": columns})),
            f"{error.message}. As text it is read from all of them; objects as JSON text.",
        )


def _about(stream: Stream) -> str:
    return "" if stream.kind == "index" else f"{stream.kind[0].upper()}{stream.kind[1:]}; new ones are read too."


def _about_key(stream: Stream) -> str:
    return "An _id is one document's only inside its index." if stream.grows else ""


def _reasons(cursor: Dates, others: Sequence[Dates]) -> list[str]:
    """Why this date, and not another."""
    said = {
        Meaning.CHANGED: "By its name it moves with every change; a change that does not move it is not seen.",
        Meaning.ARRIVED: "By its name the instant when a document came; later changes are not seen.",
        Meaning.CREATED: "By its name the instant when a document was made; later changes are not seen.",
        Meaning.HAPPENED: "No date tells when a document came or changed: what comes late or changes later is"
        " seen only inside windows.lookback_seconds.",
    }
    found = [said[cursor.meaning]]
    if others:
        told = [
            f"{one.field} ({one.without:,} documents have none)" if one.without else one.field for one in others
        ]
        found.append(f"Other dates: {', '.join(told[:6])}.")
    return found


def _notes(source: Source, cursor: Dates) -> list[str]:
    notes = []
    if cursor is WHOLE:
        notes.append(f"There is no date. Above {SMALL_ROWS:,} documents, give it one, and a cursor.")
    if cursor.without:
        notes.append(
            f"{cursor.without:,} documents have no {cursor.field}: no window holds them, they are never read."
        )
    schema = source.decoder.schema
    if texts := [one.name for one in schema if is_json(one)]:
        more = f" and {len(texts) - 12} more" if len(texts) > 12 else ""
        notes.append(
            f"As JSON text: {', '.join(texts[:12])}{more} (columns.objects: flatten makes columns of objects)."
        )
    return notes


def _seconds(interval: str) -> int:
    """Seconds of a refresh interval as `30s`, rounded up; 0 where none is set."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)", interval)
    return 0 if found is None else int(-(-int(found[1]) * _UNITS[found[2]] // 1))


def _without_nothing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` without keys that say nothing."""
    return {
        key: _without_nothing(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if value is not None
    }
