"""The indices behind the configured name: which they are, and what of their settings matters for reading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.elasticsearch.transport import Transport
from state.errors import ConfigurationError, PermanentError, TransientError

_MAX_RESULT_WINDOW = 10_000


@dataclass(frozen=True)
class Index:
    """One concrete index. `refresh`: its refresh interval as set, empty for the server's default."""

    name: str
    uuid: str
    shards: int
    refresh: str
    max_result_window: int
    source_mode: str

    @property
    def refreshes(self) -> bool:
        return not self.refresh.startswith("-")


def target(name: str, settings: ElasticsearchSettings, endpoint: str, query: str = "") -> str:
    """Path and query of a request to the index `name`: what is missing there is an error unless configured."""
    ignore = settings.missing_indices == "ignore"
    options = (
        f"ignore_unavailable={str(ignore).lower()}&allow_no_indices={str(ignore).lower()}&expand_wildcards=open"
    )
    return f"/{quote(name, safe='*,')}/{endpoint}?{options}{'&' if query else ''}{query}"


async def look_up(transport: Transport, settings: ElasticsearchSettings) -> tuple[Index, ...]:
    """The indices, by name. Raises `ConfigurationError` if there is none."""
    doing = f"reading the settings of {settings.index}"
    where = target(settings.index, settings, "_settings", "flat_settings=true")
    answer = await transport.call("source.settings", doing, "GET", where)
    found = parsed(doing, answer.body)
    if not found:
        raise ConfigurationError(
            f"{settings.index} names no index",
            hint="Correct source_system.index, or create the index.",
            code="index_not_found_exception",
            path="source_system.index",
        )
    return tuple(_index(name, found[name]["settings"]) for name in sorted(found))


def require_still_there(before: Sequence[Index], now: Sequence[Index], settings: ElasticsearchSettings) -> None:
    """Raise `PermanentError` if an index that was read from is gone: what remains would be a silent subset."""
    here = {index.uuid for index in now}
    gone = [index.name for index in before if index.uuid not in here]
    if gone and settings.missing_indices == "error":
        raise PermanentError(
            f"{settings.index}: {', '.join(gone)} was there when this attempt began and is gone",
            hint="If it was deleted on purpose, `sluiceway retry` reads what is left; otherwise restore it first.",
            code="index_gone",
        )


def parsed(doing: str, body: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer. Raises `TransientError` if it is none."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TransientError(
            f"{doing}: the answer is no JSON object",
            hint="A proxy may answer in its place, or the connection was cut.",
            code="bad_response",
        )
    return value


def _index(name: str, settings: Mapping[str, str]) -> Index:
    mode = settings.get("index.mapping.source.mode")
    derived = settings.get("index.mode") in ("logsdb", "time_series")
    return Index(
        name=name,
        uuid=settings.get("index.uuid", name),
        shards=int(settings.get("index.number_of_shards", 1)),
        refresh=settings.get("index.refresh_interval", ""),
        max_result_window=int(settings.get("index.max_result_window", _MAX_RESULT_WINDOW)),
        source_mode=mode or ("synthetic" if derived else "stored"),
    )
