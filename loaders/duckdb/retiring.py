"""Old rows leave the target: counted, bounded, and deleted in one transaction under the fence."""

from __future__ import annotations

from datetime import datetime

import msgspec

from loaders.duckdb.ledger import transact
from loaders.duckdb.names import quoted
from loaders.duckdb.rows import earlier
from loaders.duckdb.schema import columns
from loaders.duckdb.types import TIMES
from loaders.duckdb.work import Work
from loaders.retention import Limits, Retired, unusable_column
from state.model import Attempt


def retire(work: Work, attempt: Attempt, column: str, before: datetime, limits: Limits | None) -> Retired:
    """See `loaders.base.Loader.retire`."""
    where = older(work, column)
    if limits is None:
        return counted(work, where, before)

    def step() -> tuple[Retired, bool]:
        with work.port("loader.retire.fence"):
            work.ledger.touch_fence()
        work.ledger.require_highest(attempt)
        found = counted(work, where, before)
        limits.require(found)
        if not found.matching:
            return found, False
        with work.port("loader.retire.delete"):
            deleted = work.session.count(f"DELETE FROM {work.target} WHERE {where}", before)
        return msgspec.structs.replace(found, deleted=deleted), True

    return transact(work.session, "retire", work.port, step)


def counted(work: Work, where: str, before: datetime) -> Retired:
    """Each count by its own query."""
    return Retired(
        work.session.count(f"SELECT count(*) FROM {work.target} WHERE {where}", before),
        work.session.count(f"SELECT count(*) FROM {work.target}"),
    )


def older(work: Work, column: str) -> str:
    """SQL that is true for a row whose `column` is before its one parameter. Raises `ConfigurationError`."""
    found = columns(work.session, work.names.target).get(column.lower())
    if found is None:
        raise unusable_column(work.names.target, column, "does not exist")
    if found.type not in TIMES:
        raise unusable_column(work.names.target, column, f"is {found.type}, which tells no row's age")
    return earlier(quoted(found.name), found.type)
