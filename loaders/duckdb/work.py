"""What one call of the loader works with: its session, and what the settings say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loaders.base import Mode
from loaders.duckdb.file import Session
from loaders.duckdb.ledger import Ledger
from loaders.duckdb.names import Names
from loaders.duckdb.rows import RowRules
from loaders.duckdb.settings import DuckDBTarget
from state.port import Port


@dataclass(frozen=True)
class Work:
    """Lives as long as its session."""

    session: Session
    settings: DuckDBTarget
    names: Names
    rules: RowRules
    pipeline: str
    port: Port

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.session, self.names, self.pipeline, self.settings.mode, self.port)

    def of(self, pipeline: str) -> Work:
        """The same for another pipeline."""
        return replace(self, pipeline=pipeline)

    @property
    def merging(self) -> bool:
        return self.settings.mode is Mode.MERGE

    @property
    def target(self) -> str:
        """The target table in SQL."""
        return self.session.at(self.names.target)

    @property
    def loads(self) -> str:
        """The load table in SQL."""
        return self.session.at(self.names.loads)
