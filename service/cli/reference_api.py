"""The OpenAPI document of `/v1` as it is kept in docs/openapi.json: that of a daemon that attends to nothing."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.admin.openapi import document
from service.admin.v1 import operations
from service.daemon.actions import Actions
from service.daemon.daemon import Daemon
from service.daemon.settings import DaemonSettings
from service.events import Event


def openapi() -> dict[str, Any]:
    """The document, as plain values."""
    return asyncio.run(_of_an_idle_daemon())


async def _of_an_idle_daemon() -> dict[str, Any]:
    daemon = Daemon(Path(), DaemonSettings(), _told)
    return document(operations(daemon, Actions(daemon, 1)), version("sluiceway"))


def _told(_event: Event) -> None:
    """Nobody listens."""
