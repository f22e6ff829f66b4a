"""Where chunks are archived: a folder, `s3://`, `gs://`, or a stage of the warehouse itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from state.settings import Group, Secret

SETTING = "phases.stage_cleaning.archive"
"""The path of the setting, for errors."""
STORES = ("s3", "gs")
"""Schemes of object stores."""


PROBE = b"sluiceway doctor"
"""What `doctor` writes into an archive."""


def probe_name(pipeline: str) -> str:
    """The file that `doctor` writes into an archive to see that it can, and removes again."""
    return f"sluiceway-doctor-{pipeline}"


def archive_url(value: str) -> str:
    """Raises ValueError for a place that is none of ours, or that holds credentials; the value is not repeated."""
    scheme, is_url, rest = value.partition("://")
    if not is_url:
        return value
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or "?" in rest or "#" in rest:
        raise ValueError("it holds no user, password or parameters; give access under archive_access")
    if scheme not in STORES:
        raise ValueError("it is neither a folder nor like s3://bucket/prefix, gs://bucket/prefix")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]+", bucket):
        raise ValueError(f"it does not name a bucket: {scheme}://bucket/prefix")
    if any(part in ("", ".", "..") for part in prefix.removesuffix("/").split("/") if prefix):
        raise ValueError("its prefix has an empty part, or one of . and ..")
    return value


ArchiveUrl = Annotated[str, Field(min_length=1), AfterValidator(archive_url)]
Endpoint = Annotated[str, Field(pattern=r"^https?://[^/@?#\s]+/?$")]


class ArchiveAccess(Group):
    """How an object store is reached. Default: as the machine is set up (environment, profile, instance role)."""

    region: Annotated[str, Field(min_length=1)] | None = None
    """Region of the bucket. Default none: the environment's or profile's."""
    endpoint: Endpoint | None = None
    """Address of another store that speaks S3 (or Google's protocol), `https://host:port`. Default none: Amazon's
    or Google's own."""
    access_key: Secret | None = None
    """Access key, for `s3://`. Default none: the machine's own credentials."""
    secret_key: Secret | None = None
    """Secret key that belongs to `access_key`. Default none."""

    @model_validator(mode="after")
    def _pair(self) -> ArchiveAccess:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key belong together")
        return self


@dataclass(frozen=True)
class ArchivePlace:
    """Where a run's chunks are kept, each under its name below `url`."""

    url: str
    access: ArchiveAccess = field(default_factory=ArchiveAccess)

    @property
    def stage(self) -> str | None:
        """The stage of the warehouse that is meant (`@DB.SCHEMA.STAGE/prefix`), None for any other place."""
        return self.url if self.url.startswith("@") else None

    @property
    def store(self) -> tuple[str, str] | None:
        """Scheme, and bucket with prefix, of an object store; None for any other place."""
        scheme, is_url, rest = self.url.partition("://")
        return (scheme, rest.strip("/")) if is_url else None
