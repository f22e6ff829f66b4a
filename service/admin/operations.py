"""What `/v1` can be asked, as data: the routes and the OpenAPI document are made from the same list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from service.admin.auth import Role
from service.admin.models import Nothing
from service.daemon.actions import By


@dataclass(frozen=True)
class Call:
    """One request, checked: parts of the path, the query and the body as their models, and who asks."""

    path: Mapping[str, str]
    query: Any
    body: Any
    by: By
    key: str = ""
    """`Idempotency-Key`, empty where none was given."""


Handler = Callable[[Call], Awaitable[msgspec.Struct]]


@dataclass(frozen=True)
class Operation:
    """`path` with `{names}`. `errors`: statuses besides those that every operation may have."""

    method: str
    path: str
    name: str
    summary: str
    role: Role
    handler: Handler
    response: type[msgspec.Struct]
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    status: int = 200
    errors: tuple[int, ...] = ()
    takes_key: bool = False
