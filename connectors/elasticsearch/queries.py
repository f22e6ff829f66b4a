"""Request bodies: which documents, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from state.errors import ConfigurationError
from state.model import Window

_FORMAT = "strict_date_optional_time_nanos"
_MILLISECOND = timedelta(milliseconds=1)
_CLOCK = "sluiceway_clock"
"""A field that no index has: its date range is still worked out, from the server's own clock."""

NO_PARTIAL = "allow_partial_search_results=false"


class Query(msgspec.Struct, frozen=True):
    """The documents of a source: `where` and a range of `field`, which holds no finer dates than `resolution`; all
    of them where there is no such field."""

    field: str | None
    where: Mapping[str, Any] | None
    resolution: timedelta

    def of(self, span: Window | None) -> dict[str, Any]:
        """Documents with `span.start <= field < span.end`; all of them if it is None. Raises `ConfigurationError`
        for an edge between two dates that the index tells apart: it would be rounded, silently."""
        if span is None:
            return self._with({"match_all": {}})
        if any(_since_epoch(edge) % self.resolution for edge in (span.start, span.end)):
            raise ConfigurationError(
                f"{span} has an edge inside a millisecond, which the dates of {self.field} do not tell apart",
                hint="Let windows begin and end on whole milliseconds, or use a cursor of type date_nanos.",
                code="cursor_resolution",
                path="windows",
            )
        bounds = {"gte": _text(span.start), "lt": _text(span.end), "format": _FORMAT}
        return self._with({"range": {self.field: bounds}})

    def without_cursor(self) -> dict[str, Any]:
        """Documents that no window ever holds."""
        return self._with({"bool": {"must_not": [{"exists": {"field": self.field}}]}})

    def _with(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        return {"bool": {"filter": [wanted] if self.where is None else [wanted, self.where]}}


def resolution(es_types: Sequence[str]) -> timedelta:
    """The coarsest step of the cursor's index form: `date` is kept in milliseconds."""
    return _MILLISECOND if "date" in es_types else timedelta(microseconds=1)


def count(query: Mapping[str, Any]) -> dict[str, Any]:
    return {"size": 0, "track_total_hits": True, "query": query}


def histogram(query: Mapping[str, Any], field: str, step: timedelta) -> dict[str, Any]:
    """Counts per `step`, whole milliseconds, counted from 1970 on; empty ones are left out."""
    buckets = {"field": field, "fixed_interval": f"{step // _MILLISECOND}ms", "min_doc_count": 1}
    return {**count(query), "aggs": {"steps": {"date_histogram": buckets}}}


def clock() -> dict[str, Any]:
    """A request that finds nothing and says what `now` is."""
    ranges = {"field": _CLOCK, "ranges": [{"from": "now"}]}
    return {"size": 0, "query": {"match_none": {}}, "aggs": {"clock": {"date_range": ranges}}}


def _since_epoch(at: datetime) -> timedelta:
    return at - datetime(1970, 1, 1, tzinfo=at.tzinfo)


def _text(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
