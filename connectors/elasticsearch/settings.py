"""Settings of an Elasticsearch or OpenSearch source: `source_system` in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from state.settings import Group, Secret

Name = Annotated[str, Field(min_length=1)]


def _endpoint(value: str) -> str:
    if "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("an endpoint holds no user and password; give them under auth")
    return value


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
    """Field to field type, where the mapping's own is not wanted. Default none: the mapping decides."""


class ElasticsearchSettings(Group):
    """An index, alias, data stream or pattern of them."""

    type: Literal["elasticsearch", "opensearch"]
    """Kind of source. The product itself is detected, so both words do."""
    endpoint: Endpoint | Annotated[tuple[Endpoint, ...], Field(min_length=1)]
    """URL of the cluster, or of several of its nodes. No default."""
    index: Name
    """Index, alias, data stream or pattern. No default."""
    cursor: Name
    """Date field that windows are cut by. No default."""
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
