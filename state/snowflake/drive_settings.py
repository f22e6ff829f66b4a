"""Settings of a drive table in Snowflake: `drive_table` in the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from state.errors import ConfigurationError
from state.settings import Group
from state.snowflake.names import parse


def _schema(text: str) -> str:
    try:
        parse(text, parts=2)
    except ConfigurationError as error:
        raise ValueError(f"{error.message}. {error.hint}") from None
    return text


class SnowflakeDriveSettings(Group):
    """Runs are remembered in tables of a Snowflake schema, for several workers that share nothing else."""

    type: Literal["snowflake"]
    """Kind of drive table. No default here."""
    database_schema: Annotated[str, AfterValidator(_schema)]
    """`DATABASE.SCHEMA` of its tables and views; `sluiceway drive sql drive_table` prints what makes
    them. The account and the login are those of `snowflake_connection`. No default."""

    @property
    def place(self) -> str:
        """How messages name this drive table."""
        return f"{self.database_schema} in Snowflake"
