"""One attempt at a run: the phases that are not done yet, in order, each checkpointed; then its end.

Whatever ends an attempt is turned here into what happens next: fail with a time to go on, quarantine,
release, or silence where another worker owns the run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

import msgspec

from service import functions
from service.bench import Bench, Stopping, utc_now
from service.events import (
    CleaningFailed,
    Event,
    PhaseFinished,
    PhaseStarted,
    RunFailed,
    RunFenced,
    RunFinished,
    RunLeft,
    RunReleased,
)
from service.newest import later_window
from service.phases import STEPS
from service.phases.copying import adopt_stage
from service.phases.outcome import Outcome
from service.retry import retrying
from state.errors import (
    AuditMismatch,
    ConfigurationError,
    ContractError,
    LeaseLost,
    PermanentError,
    RestartAttempt,
    SluicewayError,
    TransientError,
    UnknownOutcome,
    Unreachable,
)
from state.model import Claim, Failure, Manifest, Phase, PhaseRecord, PhaseStatus, Run, RunStatus

_log = logging.getLogger(__name__)
"""Tracebacks for `--debug`; an operator reads the failure in the drive table."""

CLEANING = (Phase.STAGE_CLEANING, Phase.TARGET_CLEANING)
"""A clean-up that fails never un-succeeds a run."""

LONGEST_WAIT_SECONDS = 86_400.0
"""However long somebody asks to wait, a day later it is tried again."""

MOST_DOUBLINGS = 16
"""Of the wait before the next attempt; its limit is reached long before."""

READING = (Phase.PRE_VALIDATION, Phase.SOURCE_TO_STAGE_TRANSFER, Phase.STAGE_TO_TARGET_TRANSFER)

EXTENDED = (Phase.STALE_PIPELINE_HANDLING, Phase.AUDIT)
"""Phases that a user's function extends rather than replaces."""


class Walk:
    """Walks one claimed run to its end. Use once."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._phase = Phase.STALE_PIPELINE_HANDLING
        self._started = utc_now()
        self._ending = False
        self._told = False
        """Whether the end of this attempt was told: each is, once, whatever ends it."""

    async def run(self) -> Run:
        """Walk; returns the run as stored at the end.

        Raises CancelledError, after releasing the run; and what the drive table says where it does not take the
        run's failure: the run stays as it is, and is taken up when its lease is over.
        """
        try:
            return await self._to_its_end()
        except asyncio.CancelledError:
            await self._leave()
            task = asyncio.current_task()
            if not self._bench.lease.lost or (task is not None and task.uncancel()):
                raise  # told to stop, perhaps besides
            return self._bench.run

    async def _leave(self) -> None:
        """What a cancellation leaves: the run is let go of, if it is this process's still, and that is told."""
        try:
            if not (self._bench.lease.lost or self._ending):
                await self._release()
        finally:  # a run that is being let go of may be lost, and that cancels once more
            if not self._told:
                self._cut_short()

    def _cut_short(self) -> None:
        if not self._bench.run.unfinished:
            self._tell(RunFinished(self._bench.run))
        elif self._bench.lease.lost:
            self._fenced(LeaseLost("the lease ran out before it could be renewed"))
        else:
            self._tell(RunLeft(self._bench.run, "told to stop before its end could be stored"))

    async def _to_its_end(self) -> Run:
        """The same, but for what a cancellation leaves."""
        try:
            return await self._through_phases()
        except Stopping:
            return await self._release()
        except LeaseLost as error:
            return self._fenced(error)
        except SluicewayError as error:
            _log.debug("%s failed in %s", self._bench.run.name, self._phase, exc_info=True)
            return await self._fail(error)
        except Exception as error:  # noqa: BLE001 the one boundary: a defect ends this run, not the process
            _log.debug("a defect ended %s in %s", self._bench.run.name, self._phase, exc_info=True)
            return await self._fail(
                PermanentError(
                    f"{type(error).__name__}: {error}",
                    hint="This is a defect of Sluiceway; please report it with the output of --debug.",
                    code="defect",
                )
            )

    async def _through_phases(self) -> Run:
        bench = self._bench
        if (later := await later_window(bench)) is not None:
            await self._store(self._phase, PhaseStatus.SKIPPED, Outcome({"superseded_by": str(later)}, skip=True))
            return await self._end(RunStatus.SKIPPED)
        await retrying(
            lambda: bench.loader.raise_fence(bench.attempt), bench.retry, bench.on_retry(self._phase)
        )  # from here on no older attempt can write to the target
        await self._forget_reading_if_contract_changed()
        for phase in Phase:
            if self._bench.run.done(phase):
                continue
            self._bench.go_on()
            self._phase = phase
            if await self._perform(phase):
                return await self._end(RunStatus.SKIPPED)
        return await self._end(RunStatus.COMPLETED)

    async def _end(self, status: RunStatus) -> Run:
        run = await self._bench.lease.checkpoint(
            lambda run: msgspec.structs.replace(run, status=status, failure=None)
        )
        self._tell(RunFinished(run))
        return run

    async def _perform(self, phase: Phase) -> bool:
        """One phase with its checkpoint; True if the run is to be skipped from here on."""
        bench = self._bench
        settings = bench.config.phases.of(phase)
        began = time.monotonic()
        self._started = utc_now()
        if not settings.enabled:
            await self._store(phase, PhaseStatus.DISABLED, Outcome())
            return False
        bench.emit(PhaseStarted(bench.run, phase))
        status = PhaseStatus.COMPLETED
        try:
            outcome = await self._tried(phase)
        except LeaseLost:
            raise
        except SluicewayError as error:
            if phase not in CLEANING:
                raise
            status, outcome = PhaseStatus.FAILED, Outcome({"error": error.message, "hint": error.hint})
            bench.emit(CleaningFailed(bench.run, phase, error.message))
        if outcome.skip:
            status = PhaseStatus.SKIPPED
        run = await self._store(phase, status, outcome)
        bench.emit(PhaseFinished(run, phase, status, timedelta(seconds=time.monotonic() - began)))
        return outcome.skip

    async def _tried(self, phase: Phase) -> Outcome:
        """A phase is tried again as a whole, but for the built-in reading, which retries part by part."""
        if phase is Phase.SOURCE_TO_STAGE_TRANSFER and self._bench.config.phases.of(phase).function is None:
            return await self._outcome(phase)
        return await retrying(lambda: self._outcome(phase), self._bench.retry, self._bench.on_retry(phase))

    async def _outcome(self, phase: Phase) -> Outcome:
        function = self._bench.config.phases.of(phase).function
        if function is None:
            return await STEPS[phase](self._bench)
        if phase not in EXTENDED:
            return await self._by_user(phase, function)
        own = await STEPS[phase](self._bench)
        users = await self._by_user(phase, function, own)
        return msgspec.structs.replace(own, figures={**users.figures, **own.figures}, skip=users.skip)

    async def _by_user(self, phase: Phase, function: str, own: Outcome | None = None) -> Outcome:
        """The user's function; where it extends a phase it sees what `own` found in the record."""
        bench = self._bench
        run = bench.run if own is None else with_record(bench.run, phase, PhaseStatus.RUNNING, own)
        transfer = phase is Phase.SOURCE_TO_STAGE_TRANSFER
        answer = await functions.call(function, bench.config.as_dict(), run, needs_count=transfer)
        figures = {**answer.figures, "function": function}
        if transfer and not answer.skip and answer.stage_count is not None:
            figures |= await adopt_stage(bench, answer.stage_count)
        return Outcome(figures, skip=answer.skip)

    async def _store(self, phase: Phase, status: PhaseStatus, outcome: Outcome) -> Run:
        record = PhaseRecord(status, self._started, utc_now(), outcome.figures)

        def change(run: Run) -> Run:
            return msgspec.structs.replace(
                run,
                phases={**run.phases, phase: record},
                manifest=run.manifest if outcome.manifest is None else outcome.manifest,
                receipt=outcome.receipt or run.receipt,
            )

        return await self._bench.lease.checkpoint(change)

    async def _forget_reading_if_contract_changed(self) -> None:
        """Parts read under another contract are of no use: read the window anew, as long as nothing is merged."""
        run = self._bench.run
        if run.receipt is not None or not run.manifest.parts or not run.done(Phase.PRE_VALIDATION):
            return
        self._phase = Phase.PRE_VALIDATION
        contract = await retrying(self._bench.contract, self._bench.retry, self._bench.on_retry(self._phase))
        if contract.digest != run.manifest.schema_digest and not await self._is_merged():
            await self._bench.lease.checkpoint(without_reading)

    async def _is_merged(self) -> bool:
        """Whether the target has this run's receipt and the drive table does not: a COMMIT's answer was lost."""
        bench = self._bench
        loads = await retrying(
            lambda: bench.loader.loads(bench.run.id.pipeline, bench.run.id),
            bench.retry,
            bench.on_retry(self._phase),
        )
        return any(receipt.target_identity == loads.target_identity for receipt in loads.receipts)

    async def _fail(self, error: SluicewayError) -> Run:
        bench = self._bench
        in_a_row = self._in_a_row(error)
        failure = Failure(self._phase, error.kind, error.code, error.message, error.hint, utc_now(), in_a_row)
        try:
            failed = await self._stored(failure, self._after(error), self._retry_in(error, in_a_row))
        except LeaseLost as lost:
            return self._fenced(lost)
        except SluicewayError as refused:
            refused.add(f"the end of {bench.run.name} could not be stored: in {self._phase}, {error.message}")
            self._tell(RunLeft(bench.run, refused.message))
            raise
        return failed

    async def _stored(self, failure: Failure, run: Run, retry_in: timedelta | None) -> Run:
        """The run as failed; tried again while the drive table is busy."""
        bench = self._bench
        async with bench.lease.closing() as claim:
            self._ending = True
            return await retrying(
                lambda: bench.lease.whole(self._failed(claim, run, failure, retry_in)),
                bench.retry,
                bench.on_retry(self._phase),
            )

    async def _failed(self, claim: Claim, run: Run, failure: Failure, retry_in: timedelta | None) -> Run:
        """Told with the write, which is done whole: a stop may come meanwhile, and a person is waited for."""
        failed = await self._bench.drive.fail(claim, run, failure, retry_in=retry_in, quarantine=retry_in is None)
        self._tell(RunFailed(failed, failure))
        return failed

    def _in_a_row(self, error: SluicewayError) -> int:
        """Attempts that ended by this error in a row, since an operator last looked."""
        run, before = self._bench.run, self._bench.run.failure
        if before is None or not run.strikes or (before.kind, before.code) != (error.kind, error.code):
            return 1
        return before.in_a_row + 1

    def _after(self, error: SluicewayError) -> Run:
        """The run as it is stored with its failure: what cannot be continued is forgotten."""
        run = self._bench.run
        anew = (RestartAttempt, ConfigurationError, ContractError) if self._bench.config.whole else RestartAttempt
        if isinstance(error, anew) and self._phase is Phase.STAGE_TO_TARGET_TRANSFER:
            run = without_reading(run)  # a table that was refused is read as it is when somebody has looked at it
        if isinstance(error, AuditMismatch):
            record = PhaseRecord(PhaseStatus.FAILED, self._started, utc_now(), error.figures)
            run = msgspec.structs.replace(run, phases={**run.phases, self._phase: record})
        return run

    def _retry_in(self, error: SluicewayError, in_a_row: int) -> timedelta | None:
        """When the run goes on by itself; None: never, an operator decides."""
        limits = self._bench.config.limits
        same = self._bench.run.failure is not None and self._bench.run.failure.kind == error.kind
        strikes = (self._bench.run.strikes if same else 0) + 1
        if strikes >= limits.attempts_per_error_class and not isinstance(error, Unreachable):
            return None
        if isinstance(error, RestartAttempt | UnknownOutcome):
            return timedelta(0)
        if isinstance(error, TransientError):
            if error.at_most is not None and in_a_row >= error.at_most:
                return None
            doubled = limits.retry_base_seconds * 2 ** min(strikes - 1, MOST_DOUBLINGS)
            backoff = min(limits.retry_cap_seconds, doubled)
            return timedelta(seconds=min(max(backoff, error.retry_after or 0.0), LONGEST_WAIT_SECONDS))
        return None

    async def _release(self) -> Run:
        """Let the run go; one that cannot be let go is taken over when its lease ends, and hinders no stop."""
        if not self._bench.run.unfinished:  # the last checkpoint was under way when the stop came
            self._tell(RunFinished(self._bench.run))
            return self._bench.run
        self._ending = True
        try:
            async with self._bench.lease.closing() as claim:
                return await self._bench.lease.whole(self._released(claim))
        except LeaseLost as error:
            return self._fenced(error)
        except SluicewayError as error:
            _log.debug("%s keeps its owner until the lease ends", self._bench.run.name, exc_info=True)
            self._tell(RunLeft(self._bench.run, error.message))
            return self._bench.run

    async def _released(self, claim: Claim) -> Run:
        run = await self._bench.drive.release(claim, claim.run)
        self._tell(RunReleased(run))
        return run

    def _fenced(self, error: LeaseLost) -> Run:
        self._tell(RunFenced(self._bench.run, error.message))
        return self._bench.run

    def _tell(self, end: Event) -> None:
        self._told = True
        self._bench.emit(end)


def with_record(run: Run, phase: Phase, status: PhaseStatus, outcome: Outcome) -> Run:
    record = PhaseRecord(status, figures=outcome.figures)
    return msgspec.structs.replace(run, phases={**run.phases, phase: record})


def without_reading(run: Run) -> Run:
    """`run` with everything from pre-validation on forgotten, so that it reads its window anew."""
    phases = {phase: record for phase, record in run.phases.items() if phase not in READING}
    return msgspec.structs.replace(run, phases=phases, manifest=Manifest())
