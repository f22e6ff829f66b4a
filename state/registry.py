"""The kinds of drive tables that this version has, and how each is opened, made and upgraded.

Settings are plain and imported at once; a backend, and its vendor's library with it, only when it is used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from state.drive import DriveTable
from state.errors import ConfigurationError
from state.memory import MemoryDrive
from state.mysql.settings import MysqlDriveSettings
from state.port import Port, direct
from state.snowflake.drive_settings import SnowflakeDriveSettings
from state.sqlite import SqliteDrive
from state.sqlite.settings import LocalDriveSettings

if TYPE_CHECKING:
    from state.snowflake.session import Account

AnyDrive: TypeAlias = LocalDriveSettings | MysqlDriveSettings | SnowflakeDriveSettings


def kind_of(value: Any) -> str:
    """The tag of the group that settings are meant for; sqlite where they do not say."""
    kind = value.get("type", "sqlite") if isinstance(value, dict) else getattr(value, "type", "sqlite")
    return "sqlite" if kind == "memory" else str(kind)


DriveSettings = Annotated[
    Annotated[LocalDriveSettings, Tag("sqlite")]
    | Annotated[MysqlDriveSettings, Tag("mysql")]
    | Annotated[SnowflakeDriveSettings, Tag("snowflake")],
    Discriminator(kind_of),
]
"""What `drive_table` may be."""


@dataclass(frozen=True)
class Backend:
    """A kind of drive table, with its settings given.

    `open(port=)` gives the drive table and raises `ConfigurationError` if it was not made; `init()` makes it or
    upgrades the one that is there, `upgrade()` only the latter; both return its id.
    """

    open: Callable[..., Awaitable[DriveTable]]
    init: Callable[[], Awaitable[str]]
    upgrade: Callable[[], Awaitable[str]]


def backend(settings: AnyDrive, account: Account | None = None) -> Backend:
    """The backend of these settings; `account` is that of `snowflake_connection`."""
    match settings:
        case LocalDriveSettings(type="sqlite", path=path):
            return of(SqliteDrive, path)
        case MysqlDriveSettings():
            from state.mysql.drive import MysqlDrive  # noqa: PLC0415 its library only when it is used

            return of(MysqlDrive, settings)
        case SnowflakeDriveSettings():
            from state.snowflake.drive import SnowflakeDrive  # noqa: PLC0415 as above

            return of(SnowflakeDrive, account, settings.database_schema)
    return Backend(in_memory, not_made, not_made)


def of(kind: Any, *given: Any) -> Backend:
    """The backend of a class that has `open`, `init` and `upgrade`."""
    return Backend(partial(kind.open, *given), partial(kind.init, *given), partial(kind.upgrade, *given))


async def in_memory(*, port: Port = direct) -> DriveTable:
    """An empty drive table."""
    return MemoryDrive(port=port)


async def not_made() -> str:
    """Raises `ConfigurationError`: a drive table in memory cannot be made beforehand."""
    raise ConfigurationError(
        "a drive table in memory is not made beforehand",
        hint="Set drive_table.type: sqlite for one that lasts.",
        code="memory_drive",
        path="drive_table.type",
    )
