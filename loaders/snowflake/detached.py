"""Merges of older attempts that nobody ends: found by their tag while the fence is waited for, and aborted (G-13).

A worker that died, or lost its session, in the middle of a merge leaves its transaction open, and that holds the
fence: Snowflake ends it when it was idle for some minutes and somebody waits. What an older attempt of the same
window would still write is void, so it need not be waited for that long.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from loaders.snowflake.rows import INSTANT, instant
from loaders.snowflake.work import Work
from state.errors import SluicewayError
from state.model import Attempt
from state.snowflake.names import quoted
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag

PATIENCE_SECONDS = 10.0
"""How long the fence is waited for before it is looked who holds it: most merges end by themselves."""


@asynccontextmanager
async def unblocked(account: Account, work: Work, attempt: Attempt, tag: Tag) -> AsyncIterator[None]:
    """If the block lasts, look once for older attempts that hold the fence, and abort their transactions."""
    looking = asyncio.create_task(_after_a_while(account, work, attempt, tag), name="detached transactions")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait([looking])
    if not looking.cancelled():
        looking.result()


async def _after_a_while(account: Account, work: Work, attempt: Attempt, tag: Tag) -> None:
    await asyncio.sleep(PATIENCE_SECONDS)
    try:
        async with account.session(tag) as session:
            for transaction in await older(session, work, attempt, tag):
                with work.port("loader.fence.abort"):
                    await session.rows(f"SELECT SYSTEM$ABORT_TRANSACTION({transaction})")
    except SluicewayError:
        return  # the fence is waited for all the same, and its error is the one to be told


async def older(session: Session, work: Work, attempt: Attempt, tag: Tag) -> list[int]:
    """Open transactions of this user in which an older attempt of the window took this target's fence."""
    found = []
    for row in await session.records("SHOW TRANSACTIONS"):
        told = await _tag_of(session, work, int(row["session"]), row["started_on"])
        same = told.get("pipeline") == tag.pipeline and told.get("window") == tag.window
        if same and int(told.get("attempt", attempt.token)) < attempt.token:
            found.append(int(row["id"]))
    return found


async def _tag_of(session: Session, work: Work, other: int, since: datetime) -> dict[str, Any]:
    """The tag under which that session took this target's fence in the transaction it began then; empty if it did
    not. The name of the load table tells targets apart: pipelines of one name may load several."""
    history = f"{quoted(work.names.target.parts[0])}.INFORMATION_SCHEMA.QUERY_HISTORY_BY_SESSION"
    text = await session.value(
        f"SELECT MAX(QUERY_TAG) FROM TABLE({history}(SESSION_ID => {other}, RESULT_LIMIT => 100))"
        f" WHERE STARTSWITH(QUERY_TEXT, ?) AND START_TIME >= {INSTANT}",
        f"UPDATE {work.ledger.sql} ",
        instant(since),
    )
    try:
        told = json.loads(text or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) and told.get("app") == "sluiceway" else {}
