"""What one call of the loader works with: its session, and what the settings say."""

from __future__ import annotations

from dataclasses import dataclass

from loaders.base import Mode
from loaders.snowflake.ledger import Ledger
from loaders.snowflake.names import Names
from loaders.snowflake.rows import RowRules
from loaders.snowflake.settings import SnowflakeTarget
from loaders.snowflake.transform import relation
from state.port import Port
from state.snowflake.names import Name
from state.snowflake.session import Session


@dataclass(frozen=True)
class Work:
    """Lives as long as its session."""

    session: Session
    settings: SnowflakeTarget
    names: Names
    rules: RowRules
    pipeline: str
    port: Port

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.session, self.names, self.pipeline, self.settings.mode, self.port)

    @property
    def merging(self) -> bool:
        return self.settings.mode is Mode.MERGE

    @property
    def target(self) -> str:
        """The target table in SQL."""
        return self.names.target.sql

    @property
    def empty(self) -> Name:
        """The stage table of the pipeline's runs that have no rows."""
        return self.names.empty_of(self.pipeline)

    def staged(self, table: Name) -> str:
        """The rows of a stage table in a FROM, through the user's transform where there is one."""
        return relation(self.settings.transform, table)
