"""Renewals of leases: those that wait for their turn go together, in one statement (G-8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from state.model import Claim
from state.snowflake.drive_clock import DriveClock
from state.snowflake.drive_queue import Queue
from state.snowflake.drive_rows import Tables, identity, identity_sql
from state.snowflake.session import Session
from state.snowflake.tag import Tag


@dataclass
class Asked:
    """Claims that somebody wants renewed; `kept` when it is done."""

    claims: Sequence[Claim]
    lease: timedelta
    kept: list[Claim] | None = None


class Renewals:
    """The renewals of one process."""

    def __init__(self, tables: Tables, queue: Queue, clock: DriveClock) -> None:
        self._tables = tables
        self._queue = queue
        self._clock = clock
        self._waiting: list[Asked] = []

    async def renew(self, claims: Sequence[Claim], lease: timedelta) -> list[Claim]:
        """The claims that still hold, with their new expiry."""
        asked = Asked(claims, lease)
        self._waiting.append(asked)
        try:
            await self._queue.run(Tag(phase="drive_table"), lambda session: self._together(session, asked))
        finally:
            if asked in self._waiting:
                self._waiting.remove(asked)
        assert asked.kept is not None  # the turn that ended did it, or one before
        return asked.kept

    async def _together(self, session: Session, first: Asked) -> None:
        """Renew for everybody who waits with the same lease, unless it was done already."""
        if first.kept is not None:
            return
        group = [asked for asked in self._waiting if asked.lease == first.lease and asked.kept is None]
        claims = [claim for asked in group for claim in asked.claims]
        kept = await self._extended(session, claims, first.lease)
        expires_at = self._clock.now() + first.lease
        for asked in group:
            asked.kept = [replace(claim, expires_at=expires_at) for claim in asked.claims if _key(claim) in kept]

    async def _extended(self, session: Session, claims: list[Claim], lease: timedelta) -> set[tuple[str, int]]:
        """One statement; a second one where some are lost, to learn which."""
        condition, values = held(claims)
        expiry, expires = self._clock.sql(lease)
        now, nows = self._clock.sql()
        touched = await session.count(
            f"UPDATE {self._tables.runs} SET lease_expires_at = {expiry}, updated_at = {now},"
            f" revision = revision + 1 WHERE {condition}",
            *expires,
            *nows,
            *values,
        )
        if touched == len(claims):
            return {_key(claim) for claim in claims}
        if touched == 0:
            return set()
        rows = await session.rows(
            f"SELECT pipeline_name, token FROM {self._tables.runs} WHERE {condition}", *values
        )
        return {(str(name), int(token)) for name, token in rows}


def held(claims: Sequence[Claim]) -> tuple[str, list[Any]]:
    """The condition that a run is held by one of `claims`, and its values."""
    each = " OR ".join(f"({identity_sql()} AND token = ?)" for _ in claims)
    return f"pipeline_status = 'RUNNING' AND ({each})", [
        value for claim in claims for value in (*identity(claim.run.id), claim.token)
    ]


def _key(claim: Claim) -> tuple[str, int]:
    """What names a claim: a pipeline's token is given once."""
    return claim.run.id.pipeline, claim.token
