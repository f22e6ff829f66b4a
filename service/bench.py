"""The tools that a phase may use, passed in and never imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from connectors.base import Connector
from loaders.base import Loader
from loaders.spool import Spool
from service.events import Emit, PhaseRetried
from service.lease import Lease
from service.retry import OnRetry, RetryPolicy
from service.settings import PipelineConfig
from state.contract import Contract
from state.drive import DriveTable
from state.errors import SluicewayError
from state.model import Attempt, Phase, Run, Window


def never() -> bool:
    """Nobody tells this process to stop."""
    return False


class Stopping(Exception):
    """The process is told to stop, and the run stands at a checkpoint."""


@dataclass
class Bench:
    """One attempt's tools. `connector` belongs to this attempt alone (it holds one snapshot set)."""

    config: PipelineConfig
    connector: Connector
    loader: Loader
    drive: DriveTable
    spool: Spool
    lease: Lease
    emit: Emit
    retry: RetryPolicy
    stopping: Callable[[], bool] = never
    """True once the process is told to stop: the run is let go at its next checkpoint."""
    _contract: Contract | None = None

    @property
    def run(self) -> Run:
        return self.lease.run

    def asked(self, span: Window) -> Window | None:
        """What the source is asked for where a run reads `span`: None, the table whole, in mode snapshot."""
        return None if self.config.whole else span

    @property
    def attempt(self) -> Attempt:
        return self.lease.claim.attempt

    async def contract(self) -> Contract:
        """The source's contract, asked for once per attempt."""
        if self._contract is None:
            self._contract = await self.connector.contract()
        return self._contract

    def go_on(self) -> None:
        """At a checkpoint. Raises `Stopping` if the process is told to stop."""
        if self.stopping():
            raise Stopping

    def on_retry(self, phase: Phase) -> OnRetry:
        """Tell the listeners about a retry in `phase`."""

        def told(tries: int, wait: timedelta, error: SluicewayError) -> None:
            self.emit(PhaseRetried(self.run, phase, tries, wait, error.kind, error.code, error.message))

        return told


def utc_now() -> datetime:
    """The worker's wall clock, for timestamps that people read; no decision hangs on it."""
    return datetime.now(UTC)


Clock = Callable[[], datetime]
