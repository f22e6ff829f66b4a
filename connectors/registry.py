"""The kinds of sources that this version reads: kind → settings and connector, one line each.

Settings are plain and imported at once; a connector, and its vendor's library with it, only when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

from pydantic import Field

from connectors.base import Connector
from connectors.elasticsearch.settings import ElasticsearchSettings
from connectors.files.settings import FilesSettings
from connectors.mysql.settings import MysqlSettings
from state.port import Port, direct

SourceSettings = Annotated[ElasticsearchSettings | FilesSettings | MysqlSettings, Field(discriminator="type")]
"""What `source_system` may be."""

CONNECTORS: Mapping[str, tuple[str, str]] = {
    "elasticsearch": ("connectors.elasticsearch.connector", "ElasticsearchConnector"),
    "opensearch": ("connectors.elasticsearch.connector", "ElasticsearchConnector"),
    "files": ("connectors.files.connector", "FilesConnector"),
    "mysql": ("connectors.mysql.connector", "MysqlConnector"),
    "mariadb": ("connectors.mysql.connector", "MysqlConnector"),
}
"""Kind → module and class, called as `Class(settings, port)`."""


def connector(settings: ElasticsearchSettings | FilesSettings | MysqlSettings, port: Port = direct) -> Connector:
    """A connector for one attempt."""
    module, name = CONNECTORS[settings.type]
    made: Any = getattr(import_module(module), name)
    return made(settings, port)  # type: ignore[no-any-return]


def load(settings: ElasticsearchSettings | FilesSettings | MysqlSettings) -> None:
    """Import what they need, which takes up to a second the first time."""
    import_module(CONNECTORS[settings.type][0])
