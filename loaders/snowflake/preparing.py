"""What a loader needs beside its target's columns: the load table, the stage, and the table that is always
empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loaders.snowflake.copying import stage_columns, stage_kinds
from loaders.snowflake.evolving import Alone, Evolution
from loaders.snowflake.looking import exists
from loaders.snowflake.names import Names, spelled
from loaders.snowflake.schema import Wanted, look, wanted
from loaders.snowflake.work import Work
from state.contract import Contract
from state.snowflake.names import text
from state.snowflake.session import Session


@dataclass
class Made:
    """What this loader found or made, so that it is not looked for again; any doubt forgets all of it."""

    ledger: bool = False
    fence: bool = False
    stage: bool = False
    empty: str = ""

    def forget(self) -> None:
        self.ledger = self.fence = self.stage = False
        self.empty = ""


async def prepare(work: Work, made: Made, contract: Contract, steady: Sequence[str], alone: Alone) -> str:
    """Everything is there afterwards; returns the target's identity. One statement where it was already. `alone`:
    see `Evolution`."""
    rule = work.settings.names
    want = wanted(contract.schema, rule)
    await require_ledger(work, made)
    await require_stage(work, made)
    found = await Evolution(
        work.session,
        work.names.target,
        work.settings.on_type_conflict,
        frozenset(spelled(name, rule) for name in steady),
        work.port,
        alone,
        work.settings.large_values,
    ).prepare(want)
    await require_empty(work, made, contract, want)
    return found.identity


async def ledger_there(work: Work, made: Made) -> bool:
    """Whether there is a load table."""
    made.ledger = made.ledger or await exists(work, work.names.ledger)
    return made.ledger


async def require_ledger(work: Work, made: Made) -> None:
    """Make the load table and its fence if they are missing."""
    if made.fence:
        return
    if not await ledger_there(work, made):
        await work.ledger.create()
    await work.ledger.require_fence()
    made.ledger = made.fence = True


async def require_stage(work: Work, made: Made) -> None:
    """Make the stage if it is missing: encrypted by Snowflake, so that it tells a file's true size and MD5."""
    if not made.stage and not await stage_there(work.session, work.names):
        with work.port("loader.prepare.stage"):
            await work.session.rows(
                f"CREATE STAGE IF NOT EXISTS {work.names.stage.sql} ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')"
            )
    made.stage = True


async def stage_there(session: Session, names: Names) -> bool:
    """Whether the role sees the stage. LIKE takes more than this one name, and ignores case."""
    stage = names.stage
    found = await session.records(f"SHOW STAGES LIKE {text(stage.last)} IN SCHEMA {stage.schema.sql}")
    return any(record["name"] == stage.last for record in found)


async def require_empty(work: Work, made: Made, contract: Contract, want: Sequence[Wanted]) -> None:
    """The stage table that the pipeline's runs without rows share: in the contract's columns, for a function
    of a user's that reads it. No statement of ours names its columns: they may be of another process's contract
    by now."""
    if made.empty == contract.digest:
        return
    found = await look(work.session, work.empty)
    if found is None or dict(found.columns) != stage_kinds(want):
        kinds = stage_columns(want, large=work.settings.large_values)
        with work.port("loader.prepare.empty"):
            await work.session.rows(f"CREATE OR REPLACE TRANSIENT TABLE {work.empty.sql} ({kinds})")
    made.empty = contract.digest
