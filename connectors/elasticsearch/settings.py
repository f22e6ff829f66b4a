"""Settings of an Elasticsearch or OpenSearch source: `source_system` in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from connectors.policies import Policy
from state.settings import Group, Secret

Name = Annotated[str, Field(min_length=1)]


def _endpoint(value: str) -> str:
    if "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("an endpoint holds no user and password; give them under auth")
    return value


Meta = Literal["_id", "_index", "_routing", "_seq_no", "_primary_term", "_version"]

Endpoint = Annotated[str, Field(pattern=r"^https?://[^/\s]+"), AfterValidator(_endpoint)]


class Auth(Group):
    """Who reads: an API key, a user with a password, or a bearer token; none for an open cluster."""

    api_key: Secret | None = None
    """API key in its encoded form. Default none."""
    user: Name | None = None
    """User name, together with `password`. Default none."""
    password: Secret | None = None
    """Password of `user`. Default none."""
    bearer: Secret | None = None
    """Bearer token. Default none."""

    @model_validator(mode="after")
    def _one_way(self) -> Auth:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        if sum(way is not None for way in (self.api_key, self.user, self.bearer)) > 1:
            raise ValueError("give one of api_key, user with password, and bearer")
        return self


class Columns(Group):
    """Which fields become columns, under which names and types."""

    include: tuple[Name, ...] = ("*",)
    """Field patterns that are read. Default all: a field left out is lost for good."""
    exclude: tuple[Name, ...] = ()
    """Field patterns that are not read, after `include`. Default none."""
    rename: Mapping[Name, Name] = {}
    """Field to column name. Default none."""
    types: Mapping[Name, Name] = {}
    """Field to field type (keyword, long, date, … or json), where the mapping's own is not wanted. Default none:
    the mapping decides."""
    meta: tuple[Meta, ...] = ()
    """Properties of the hit that become columns, such as _index or _seq_no. Default none but those in `key`."""
    objects: Literal["json", "flatten"] = "json"
    """An object is one column of JSON text, or each field inside it a column `outer.inner`. Default json: nothing
    that a document holds is lost, and new inner fields need no new column. Nested fields are JSON either way."""
    conflicts: Literal["fail", "text", "json"] = "fail"
    """What a field becomes that indices map to types no column holds both of. Default fail: a person decides."""
    on_bad_value: Mapping[Name, Policy] = {}
    """Column to what becomes of a value that it cannot hold: `error` fails the run, `null` makes it NULL, `text`
    makes the column text, `quarantine` sets the row aside; all but errors are counted. Default error for all:
    nothing is dropped unasked."""


class ElasticsearchSettings(Group):
    """An index, alias, data stream or pattern of them."""

    type: Literal["elasticsearch", "opensearch"]
    """Kind of source. The product itself is detected, so both words do."""
    endpoint: Endpoint | Annotated[tuple[Endpoint, ...], Field(min_length=1)]
    """URL of the cluster, or of several of its nodes. No default."""
    index: Name
    """Index, alias, data stream or pattern. No default."""
    cursor: Name | None = None
    """Date column that windows are cut by. Default none, which only `target_system.mode: snapshot` can do with: it
    reads the index whole."""
    key: tuple[Name, ...] = ("_id",)
    """Columns that identify a row. Default `_id`: the one name that each document has."""
    auth: Auth = Auth()
    """Who reads. Default nobody: an open cluster."""
    ca_file: Path | None = None
    """Certificates that the server's is checked against. Default: those of this machine."""
    columns: Columns = Columns()
    """Which fields become columns. Default all."""
    where: Mapping[str, Any] | None = None
    """A query in the search server's own language that each row must match. Default none."""
    missing_indices: Literal["error", "ignore"] = "error"
    """What happens when a named index is missing or closed, or one of a pattern goes while it is read. Default
    error: ignoring it reads fewer rows without a word."""
    page_rows: int = Field(default=10_000, ge=1, le=10_000)
    """Documents per page at most. Default and limit 10,000: what servers allow, and the fastest measured."""
    page_bytes: int = Field(default=8 << 20, ge=1 << 10, le=32 << 20)
    """Bytes per page that are aimed at. Default 8 MiB: bounds memory (about four pages per slice that is read at
    the same time) and makes larger pages no faster."""
    request_timeout_seconds: float = Field(default=60, gt=0)
    """Seconds for one request. Default 60: a page takes under a second, a busy cluster some more."""
    keep_alive_seconds: int = Field(default=300, ge=1)
    """Seconds that the server keeps a snapshot after its last page. Default 300: longer than a request and the
    upload of a page take, short enough not to burden the server after a crash."""
    slices: int = Field(default=2, ge=1, le=32)
    """Slices of a large part that are read at the same time, each a set of shards. Default 2: two keep the server
    busy while pages are decoded; each takes the memory of some pages."""
    max_concurrent_requests: int = Field(default=8, ge=1)
    """Requests at the same time, of all runs of this process on this endpoint; the smallest number of their
    pipelines counts. Default 8: of these, pages begin with two, and more only while that brings more bytes per
    second."""
    pages_per_second: float | None = Field(default=None, ge=0.1)
    """Pages asked for per second at most, of all runs of this process on this endpoint. Default no limit: requests
    in flight are bounded anyway; set it to keep a cluster free for others."""
    compression: bool | Literal["auto"] = "auto"
    """Whether answers come as gzip. Default auto: tried where pages travel slower than 10 MiB per second, and kept
    if they come faster so; on a fast network it costs both sides more than it saves."""

    @model_validator(mode="after")
    def _outlives(self) -> ElasticsearchSettings:
        if self.keep_alive_seconds <= self.request_timeout_seconds:
            raise ValueError("keep_alive_seconds must be above request_timeout_seconds: a page would outlive it")
        return self

    @model_validator(mode="after")
    def _never_null(self) -> ElasticsearchSettings:
        for column in (self.cursor, *self.key):
            if (policy := self.columns.on_bad_value.get(column or "")) in ("null", "text"):
                raise ValueError(
                    f"on_bad_value of {column} cannot be {policy}: windows and rows are told apart by it"
                )
        return self

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Column to what becomes of a value that it cannot hold; the others: error."""
        return self.columns.on_bad_value
