"""What `sluiceway doctor` asks of Snowflake: each object and privilege by itself, with the GRANT to run (N-11)."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from loaders.snowflake.checks_tables import STAGED, TARGET, Tables
from loaders.snowflake.work import Work
from state.checks import Check
from state.errors import SluicewayError
from state.snowflake.checks import Places, check_warehouse
from state.snowflake.login import hint_of
from state.snowflake.names import Name, quoted, text
from state.snowflake.probes import allowed, impatient, taken
from state.snowflake.session import Account, Session
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag

CONNECTION, STAGE = "snowflake_connection", "stage_system.stage"
"""Names of checks: the settings that they are about."""

EXTERNAL = "EXTERNAL"

PROBE = b"sluiceway doctor"
"""The bytes of the file that is put and removed again."""


async def check(account: Account, tag: Tag, working: Callable[[Session], Work]) -> Sequence[Check]:
    """Everything in the order in which one thing needs the other; what cannot be asked any more is left out."""
    try:
        async with account.session(tag, fresh=True) as session:
            first = Check(CONNECTION, True, "logged in, parameters as asked for")
            found = [first, *await Doctor(working(session), account.settings).checks()]
            await session.close()  # its parameters are not those of the others any more
            return found
    except SluicewayError as error:
        return [Check(CONNECTION, False, error.message, hint_of(error, account.settings))]


@dataclass(frozen=True)
class Doctor:
    """One look with one session."""

    work: Work
    settings: SnowflakeConnection

    async def checks(self) -> list[Check]:
        names = self.work.names
        session, role = self.work.session, str(await self.work.session.value("SELECT CURRENT_ROLE()"))
        places: dict[Name, str] = {}
        for name, setting in ((names.target, TARGET), (names.stage, STAGE), (names.staged, STAGED)):
            places.setdefault(name.schema, setting)
        found = [
            Check("snowflake_connection.role", True, f"the role is {role}"),
            await check_warehouse(session, self.settings, role),
            *await Places(session, role).checks(places),
        ]
        if not all(check.ok for check in found):
            return found
        await impatient(session)
        tables = Tables(self.work, role)
        return [
            *found,
            *await guarded(STAGE, lambda: self._stage(role)),
            *await guarded(STAGED, tables.staged),
            *await guarded(TARGET, tables.target),
        ]

    async def _stage(self, role: str) -> list[Check]:
        """A file is put, listed and removed again; or whether the stage can be made."""
        session, stage = self.work.session, self.work.names.stage
        to = f"ON STAGE {stage.sql} TO ROLE {quoted(role)};"
        kind = await stage_kind(session, stage)
        if kind is None:
            return [await self._unseen_stage(role, f"GRANT READ, WRITE {to}")]
        if kind == EXTERNAL:
            hint = "Name an internal stage, or one that is not there: it is made then. PUT takes no external one."
            return [Check(STAGE, False, f"{stage} is an external stage", hint)]
        folder = f"{self.work.pipeline}/doctor-{uuid.uuid4().hex[:12]}/"
        location = self.work.names.location(folder)
        if not await allowed(session, f"LIST {location}"):
            return [Check(STAGE, False, f"the role {role} may not read {stage}", f"GRANT READ, WRITE {to}")]
        if not await allowed(session, f"REMOVE {location}"):
            return [Check(STAGE, False, f"the role {role} may not write to {stage}", f"GRANT WRITE {to}")]
        listed = await put_and_removed(session, location)
        said = (
            "a file was put into {}, listed and removed" if listed else "a file that was put into {} is not there"
        )
        return [Check(STAGE, listed, said.format(stage), "Look at who removes files from the stage.")]

    async def _unseen_stage(self, role: str, grant: str) -> Check:
        """Whether a stage that the role does not see is there all the same, or else can be made."""
        stage = self.work.names.stage
        probe = stage.beside(f"{stage.last[:200]}_DOCTOR_{uuid.uuid4().hex[:12].upper()}").sql
        create = f"GRANT CREATE STAGE ON SCHEMA {stage.schema.sql} TO ROLE {quoted(role)};"
        if not await allowed(self.work.session, f"CREATE STAGE {probe}"):
            found = f"the role {role} sees no stage {stage}, and may not make one"
            return Check(STAGE, False, found, f"If it is there: {grant} If it is to be made: {create}")
        await self.work.session.rows(f"DROP STAGE {probe}")
        if await taken(self.work.session, "STAGE", stage):
            return Check(STAGE, False, f"{stage} is there, and the role {role} may not use it", grant)
        return Check(STAGE, True, f"{stage} will be made")


async def stage_kind(session: Session, stage: Name) -> str | None:
    """INTERNAL or EXTERNAL; None if the role sees no stage of that name."""
    found = await session.records(f"SHOW STAGES LIKE {text(stage.last)} IN SCHEMA {stage.schema.sql}")
    kinds = [str(record["type"]) for record in found if record["name"] == stage.last]
    return next((kind.split()[0] for kind in kinds), None)


async def put_and_removed(session: Session, location: str) -> bool:
    """Put a file, list it and remove it; whether it was listed."""
    await put_probe(session, location, "probe")
    listed = await session.records(f"LIST {location}")
    await session.rows(f"REMOVE {location}")
    return len(listed) == 1


async def put_probe(session: Session, location: str, name: str) -> None:
    """Put a small file under a name."""
    with TemporaryDirectory() as local:
        path = Path(local) / name
        path.write_bytes(PROBE)
        await session.put(path, location)


async def guarded(setting: str, look: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    """What the look finds; an error of it is a check that failed."""
    try:
        return await look()
    except SluicewayError as error:
        return [Check(setting, False, error.message, error.hint)]
