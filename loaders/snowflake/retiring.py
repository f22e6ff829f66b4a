"""Old rows leave the target: counted, bounded, and deleted in one transaction under the fence."""

from __future__ import annotations

from datetime import datetime

import msgspec

from loaders.retention import Limits, Retired, unusable_column
from loaders.snowflake.merge import answered
from loaders.snowflake.names import spelled
from loaders.snowflake.rows import earlier, instant
from loaders.snowflake.schema import look
from loaders.snowflake.work import Work
from state.errors import TransientError
from state.model import Attempt
from state.snowflake.names import quoted


async def retire(work: Work, attempt: Attempt, column: str, before: datetime, limits: Limits | None) -> Retired:
    """See `loaders.base.Loader.retire`."""
    where = await older(work, column)
    if limits is None:
        return await counted(work, where, before)
    session = work.session
    with work.port("loader.retire.begin"):
        await session.rows("BEGIN")
    with work.port("loader.retire.fence"):
        mark = await work.ledger.take_fence()
    await work.ledger.require_highest(attempt)
    found = await counted(work, where, before)
    limits.require(found)
    if not found.matching:
        await session.rows("ROLLBACK")
        return found
    with work.port("loader.retire.delete"):
        deleted = await session.count(
            f"DELETE FROM {work.target} WHERE {where} AND {work.ledger.holding}", instant(before), mark
        )
    if deleted != found.matching:
        raise gave_up(attempt, f"{deleted} of {found.matching} old rows were deleted")
    async with answered(work.port, "loader.retire.commit"):
        await session.rows("COMMIT")
    async with answered(work.port, "loader.retire.settle"):
        left = await counted(work, where, before)
    if left.matching:
        raise gave_up(attempt, f"{left.matching} old rows are there after COMMIT")
    return msgspec.structs.replace(found, deleted=deleted)


def gave_up(attempt: Attempt, what: str) -> TransientError:
    """The transaction was ended behind the session's back, or somebody else writes to the target."""
    return TransientError(
        f"{attempt.name}: {what}",
        hint="It is tried again; somebody wrote to the target meanwhile, or ended the transaction.",
        code="transaction_ended",
    )


async def counted(work: Work, where: str, before: datetime) -> Retired:
    """Each count by its own query."""
    [(matching, total)] = await work.session.rows(
        f"SELECT (SELECT COUNT(*) FROM {work.target} WHERE {where}), (SELECT COUNT(*) FROM {work.target})",
        instant(before),
    )
    return Retired(int(matching), int(total))


async def older(work: Work, column: str) -> str:
    """SQL that is true for a row whose `column` is before its one parameter. Raises `ConfigurationError`."""
    table, name = work.names.target, spelled(column, work.settings.names)
    have = await look(work.session, table)
    kind = None if have is None else have.columns.get(name)
    if kind is None:
        raise unusable_column(table, column, "does not exist")
    if kind != "DATE" and not kind.startswith("TIMESTAMP_"):
        raise unusable_column(table, column, f"is {kind}, which tells no row's age")
    return earlier(quoted(name), kind)
