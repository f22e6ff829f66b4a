"""A drive table over any store with transactions: the store keeps rows, `state.rules` decides.

A backend gives `Rows` inside an exclusive transaction and so inherits every rule; the twin and SQLite do.
The transaction that creates runs is the pipeline's lease as well: nobody else can write meanwhile, and it
ends with its holder, so there is nothing that could be left behind and expire.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from state import rules
from state.answers import Unheard, repeatable
from state.drive import Event, NewRun
from state.model import Claim, Failure, Phase, Receipt, Run, RunId, RunStatus, Window
from state.summary import Summary
from state.wishes import Again, Wish

T = TypeVar("T")


class Rows(Protocol):
    """What the store holds, inside one transaction that no other writer can enter."""

    @property
    def drive_id(self) -> str:
        """The id of this drive table."""

    def now(self) -> datetime:
        """The store's clock, UTC."""

    def get(self, run: RunId) -> Run | None:
        """One run."""

    def put(self, run: Run) -> Run:
        """Store a run whole, new or not; returns it as it will be read again, `updated_at` set."""

    def unfinished(self, pipeline: str) -> Iterable[Run]:
        """Unfinished runs, oldest first (window, then number), read as far as the caller goes."""

    def scheduled_before(self, pipeline: str, end: datetime) -> Window | None:
        """Among spans of scheduled runs, the one with the latest start before `end`."""

    def highest_number(self, pipeline: str, window: Window) -> int:
        """Highest run number of exactly this window, whichever drive table made it; 0 if none."""

    def has_name(self, name: str) -> bool:
        """True if some run bears this operator's name."""

    def extend(self, claim: Claim, expires_at: datetime) -> bool:
        """Move the lease of a RUNNING run, if the claim's token is still the run's."""

    def lift_token(self, pipeline: str, floor: int) -> None:
        """Make the pipeline's token `floor` at least; it never falls."""

    def token(self, pipeline: str) -> int:
        """The pipeline's token, 0 before its first claim."""

    def add(self, event: Event) -> None:
        """Store an operator's action."""

    def events(self, pipeline: str, limit: int) -> list[Event]:
        """Operator actions, newest first."""

    def runs(
        self,
        pipeline: str | None,
        statuses: Sequence[RunStatus],
        within: Window | None,
        limit: int | None,
        *,
        name: str | None = None,
    ) -> list[Run]:
        """The first `limit` runs by window and number that match."""

    def summaries(self, pipeline: str, within: Window | None) -> list[Summary]:
        """Runs that match, in short, by window and number; read without manifests."""

    def windows(self, pipeline: str, unfinished: bool) -> list[Window]:
        """Windows that have a run (an unfinished one, if asked), in order, each once."""


class TransactionalDrive(ABC):
    """`DriveTable` for a store that can run a step inside one exclusive transaction.

    `owner_is_dead` tells whether an owner is certainly gone, so that its runs are due before their lease
    expires.
    """

    def __init__(self, drive_id: str, owner_is_dead: Callable[[str], bool]) -> None:
        self._id = drive_id
        self._unheard = Unheard(owner_is_dead)

    @abstractmethod
    async def _write(self, effect: str, step: Callable[[Rows], T]) -> T:
        """Run `step` inside a transaction and the port `effect`; nothing is stored if it raises."""

    @abstractmethod
    async def _read(self, step: Callable[[Rows], T]) -> T:
        """Run `step`, which writes nothing."""

    @abstractmethod
    async def aclose(self) -> None:
        """Release every resource; harmless when repeated."""

    @property
    def id(self) -> str:
        return self._id

    async def now(self) -> datetime:
        return await self._read(lambda rows: rows.now())

    async def create(self, pipeline: str, owner: str, runs: Sequence[NewRun]) -> list[Run]:  # noqa: ARG002
        with repeatable():
            return await self._write("drive.create", lambda rows: rules.create(rows, pipeline, runs))

    async def adopt(self, pipeline: str, receipts: Sequence[Receipt], token_floor: int) -> list[Run]:
        is_dead = self._unheard.nobody_holds
        with repeatable():
            return await self._write(
                "drive.adopt", lambda rows: rules.adopt(rows, pipeline, receipts, token_floor, is_dead)
            )

    async def claim(
        self,
        pipeline: str,
        owner: str,
        lease: timedelta,
        *,
        run: RunId | None = None,
        within: Window | None = None,
        ordered: bool = False,
    ) -> Claim | None:
        wish, made, is_dead = Wish(run, within, ordered), list[Claim](), self._unheard.nobody_holds

        def step(rows: Rows) -> Claim | None:
            claim = rules.claim(rows, pipeline, wish, owner=owner, lease=lease, is_dead=is_dead)
            made[:] = [] if claim is None else [claim]
            return claim

        with self._unheard.listening(made):
            return await self._write("drive.claim", step)

    async def renew(self, claims: Sequence[Claim], lease: timedelta) -> list[Claim]:
        with repeatable():
            return await self._write("drive.renew", lambda rows: rules.renew(rows, claims, lease))

    async def checkpoint(self, claim: Claim, run: Run) -> Claim:
        return await self._write("drive.checkpoint", lambda rows: rules.checkpoint(rows, claim, run))

    async def fail(
        self, claim: Claim, run: Run, failure: Failure, *, retry_in: timedelta | None, quarantine: bool
    ) -> Run:
        if quarantine == (retry_in is not None):
            raise ValueError("a failed run either goes on by itself or waits for an operator")
        return await self._write("drive.fail", lambda rows: rules.fail(rows, claim, run, failure, retry_in))

    async def release(self, claim: Claim, run: Run) -> Run:
        return await self._write("drive.release", lambda rows: rules.release(rows, claim, run))

    async def reopen(self, run: RunId, *, from_phase: Phase | None, run_floor: int, event: Event) -> Run:
        wish = Again(run, from_phase, run_floor)
        is_dead = self._unheard.nobody_holds
        return await self._write("drive.reopen", lambda rows: rules.reopen(rows, wish, event, is_dead))

    async def record(self, event: Event) -> None:
        await self._write("drive.record", lambda rows: rows.add(event))

    async def events(self, pipeline: str, limit: int = 100) -> list[Event]:
        return await self._read(lambda rows: rows.events(pipeline, limit))

    async def runs(
        self,
        pipeline: str | None = None,
        *,
        statuses: Sequence[RunStatus] = (),
        within: Window | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        return await self._read(lambda rows: rows.runs(pipeline, statuses, within, limit, name=name))

    async def summaries(self, pipeline: str, *, within: Window | None = None) -> list[Summary]:
        return await self._read(lambda rows: rows.summaries(pipeline, within))

    async def windows(self, pipeline: str, *, unfinished: bool = False) -> list[Window]:
        return await self._read(lambda rows: rows.windows(pipeline, unfinished))
