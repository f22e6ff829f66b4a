"""What `sluiceway doctor` asks of an archive that is a stage of the warehouse itself."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from loaders.archive_settings import SETTING, probe_name
from loaders.snowflake.archiving import require_elsewhere, stage_location
from loaders.snowflake.checks import EXTERNAL, put_probe, stage_kind
from loaders.snowflake.names import Names
from state.checks import Check
from state.errors import SluicewayError
from state.snowflake.checks import Places
from state.snowflake.names import Name, parse, quoted
from state.snowflake.probes import allowed
from state.snowflake.session import Account, Session
from state.snowflake.tag import Tag


async def check_archive(account: Account, names: Names, place: str, pipeline: str) -> list[Check]:
    """Whether files of the stage can be copied to `place`, `@DB.SCHEMA.STAGE/path`. One is copied, listed and
    removed again. Raises `ConfigurationError` for a place that cannot be, and what a login raises."""
    into = stage_location(place)
    require_elsewhere(into, names)
    stage = parse(place.removeprefix("@").partition("/")[0], path=SETTING)
    async with account.session(Tag(pipeline, phase="check")) as session:
        role = str(await session.value("SELECT CURRENT_ROLE()"))
        found = await Places(session, role).checks({stage.schema: SETTING})
        if all(check.ok for check in found):
            found.append(await ArchiveStage(session, role, names, stage, into, pipeline).check())
        await session.close()  # it is in the archive's schema now
    return found


@dataclass(frozen=True)
class ArchiveStage:
    """One look. `into`: the archive as it stands in a statement."""

    session: Session
    role: str
    names: Names
    stage: Name
    into: str
    pipeline: str

    async def check(self) -> Check:
        kind = await stage_kind(self.session, self.stage)
        if kind is None:
            hint = (
                f"CREATE STAGE {self.stage.sql}; or, if it is there: {self._grant('READ, WRITE')}"
                f" for an internal stage, {self._grant('USAGE')} for an external one."
            )
            return Check(SETTING, False, f"the role {self.role} sees no stage {self.stage}", hint)
        external = kind == EXTERNAL
        probe = probe_name(self.pipeline)
        if not await allowed(self.session, f"LIST {self.into}{probe}"):
            hint = self._grant("USAGE" if external else "READ, WRITE")
            return Check(SETTING, False, f"the role {self.role} may not read {self.stage}", hint)
        return await self._copied(probe, "" if external else self._grant("WRITE"))

    async def _copied(self, probe: str, grant: str) -> Check:
        """`grant`: what is missing if an internal stage takes no file."""
        folder = self.names.location(f"{self.pipeline}/doctor-{uuid.uuid4().hex[:12]}/")
        try:
            await put_probe(self.session, folder, probe)
        except SluicewayError as error:
            hint = f"See stage_system.stage first: it is copied from there. {error.hint}"
            return Check(SETTING, False, f"no file to copy to the archive: {error.message}", hint)
        try:
            await self.session.rows(f"COPY FILES INTO {self.into} FROM {folder} FILES = ('{probe}')")
            listed = await self.session.records(f"LIST {self.into}{probe}")
        except SluicewayError as error:
            refused = error.code == "privilege" and grant
            return Check(SETTING, False, error.message, grant if refused else f"{error.hint} {INTEGRATION}")
        finally:
            await self.session.rows(f"REMOVE {folder}")
        if not listed:
            hint = "Look at who removes files from the archive."
            return Check(SETTING, False, f"a file was copied to {self.into}, and is not there", hint)
        return Check(SETTING, True, f"a file was copied to {self.stage} and listed; {await self._removed(probe)}")

    async def _removed(self, probe: str) -> str:
        """An archive need not let anybody remove what it has."""
        try:
            await self.session.rows(f"REMOVE {self.into}{probe}")
        except SluicewayError:
            return f"{probe} stays there: it may not be removed"
        return "it was removed again"

    def _grant(self, privileges: str) -> str:
        return f"GRANT {privileges} ON STAGE {self.stage.sql} TO ROLE {quoted(self.role)};"


INTEGRATION = "Look at the storage integration of the stage, and at its rights in the bucket."
