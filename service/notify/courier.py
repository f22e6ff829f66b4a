"""Sends notifications: a task of its own that no run waits for.

What happened is told to `hear`, which decides by a desk for each pipeline and never waits. `deliver` sends what is
due, each pipeline's notifications by each channel in a line of their own, so that a receiver that is away holds up
nobody else. A line is bounded; what is lost is counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Never

import aiohttp
import msgspec

from service.events import (
    Event,
    FreshnessBack,
    FreshnessMissed,
    Looked,
    PipelineRemoved,
    RunClaimed,
    RunFailed,
    RunFenced,
    RunFinished,
    RunsRepaired,
)
from service.notify import mail, slack, webhook
from service.notify.desk import Desk, Parcel
from service.notify.settings import Notifications
from service.retry import RetryPolicy, retrying
from state.errors import SluicewayError
from state.model import Run
from state.port import Port, direct

WHO = {"User-Agent": "sluiceway"}
CHANNELS = ("slack", "webhook", "email")
AT_ONCE = 32
"""Notifications on their way at the same time."""

Configs = Callable[[str], Notifications | None]
Note = Callable[[str], None]
Count = Callable[[str, str, int], None]
"""Told of each change of a counter: channel, `sent`, `failed` or `dropped`, and by how much."""

_log = logging.getLogger(__name__)


class Pace(msgspec.Struct, frozen=True):
    """How long a receiver is waited for (`seconds` for an answer), how often it is asked again (some three hours),
    and how many notifications wait for it, of one pipeline."""

    seconds: float = 15.0
    retry: RetryPolicy = RetryPolicy(tries=24, base=1.0, cap=900.0)
    line: int = 50


USUAL = Pace()


@dataclass
class Errand:
    """A parcel on its way by several channels. `reached`: one of them got it there."""

    parcel: Parcel
    desk: Desk
    outstanding: int
    reached: bool = False


Line = deque[Errand]
"""What waits for one channel of one pipeline; the first is on its way."""


class Courier:
    """Notifications of all pipelines of a process.

    `sent`, `failed` and `dropped` count them by channel: given to a receiver; given up after the tries or because
    the receiver refused; lost because too many waited, or at the end. `configs` gives the settings of a pipeline,
    asked anew each time; `same_config` what its commands need to find its configuration, such as ` -c FILE`;
    `note` is told in a sentence what could not be sent.
    """

    def __init__(
        self,
        configs: Configs,
        *,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace = USUAL,
        same_config: Callable[[str], str] = lambda _pipeline: "",
        port: Port = direct,
        note: Note = _log.warning,
        count: Count = lambda _channel, _result, _by: None,
    ) -> None:
        self._configs = configs
        self._clock = clock
        self._pace = pace
        self._same_config = same_config
        self._port = port
        self._note = note
        self._count = count
        self._desks: dict[str, Desk] = {}
        self._lines: dict[tuple[str, str], Line] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._ending = self._closed = False
        self._sending = asyncio.Semaphore(AT_ONCE)
        self.sent = dict.fromkeys(CHANNELS, 0)
        self.failed = dict.fromkeys(CHANNELS, 0)
        self.dropped = dict.fromkeys(CHANNELS, 0)

    def hear(self, event: Event) -> None:
        """Take notice of an event. Never waits, never raises; most events are not about anything to be told."""
        match event:
            case RunFailed(run=run) | RunFinished(run=run) | RunClaimed(run=run) | RunFenced(run=run):
                self._hear(run.id.pipeline, event)
            case PipelineRemoved(pipeline=pipeline):
                self._desks.pop(pipeline, None)
            case (
                RunsRepaired(pipeline=pipeline)
                | Looked(pipeline=pipeline)
                | FreshnessMissed(pipeline=pipeline)
                | FreshnessBack(pipeline=pipeline)
            ):
                self._hear(pipeline, event)

    def know(self, runs: Iterable[Run], now: datetime) -> None:
        """Runs as the drive table has them at the start, `now` by its clock: their failures were told by earlier
        processes, so that they are not told anew, are repeated in time, and their end is told."""
        for run in runs:
            told = self._told(run.id.pipeline)
            if told is not None and run.failure is not None and run.unfinished:
                self._desk(run.id.pipeline).know(run, told, now, self._clock())

    async def deliver(self) -> Never:
        """Send what is due, for ever. A receiver that is away, refuses or misbehaves does not end it."""
        async with (
            aiohttp.ClientSession(headers={"User-Agent": "sluiceway"}) as session,
            asyncio.TaskGroup() as lines,
        ):
            try:
                while True:
                    self._wake.clear()
                    for pipeline, desk in self._desks.items():
                        self._hand_out(pipeline, desk, session, lines)
                    await self._until_due()
            finally:
                self._closed = True

    async def drained(self, seconds: float) -> None:
        """Send what waits without waiting for more, and let it take `seconds`; what is left then is lost, counted
        and noted. `deliver` must be running. To be called once, at the end."""
        self._ending = True
        self._wake.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        self._give_up_the_rest()

    def _told(self, pipeline: str) -> Notifications | None:
        told = self._configs(pipeline)
        return told if told is not None and told.channels else None

    def _desk(self, pipeline: str) -> Desk:
        if pipeline not in self._desks:
            self._desks[pipeline] = Desk(pipeline, self._same_config(pipeline))
        return self._desks[pipeline]

    def _hear(self, pipeline: str, event: Event) -> None:
        told = self._told(pipeline)
        if told is None:
            self._desks.pop(pipeline, None)
            return
        desk = self._desk(pipeline)
        desk.hear(event, told, self._clock())
        self._count_dropped(desk, told)
        if desk.waiting:
            self._wake.set()

    def _count_dropped(self, desk: Desk, told: Notifications) -> None:
        for channel in told.channels:
            self._counted(self.dropped, "dropped", channel, desk.dropped)
        desk.dropped = 0

    def _hand_out(
        self, pipeline: str, desk: Desk, session: aiohttp.ClientSession, lines: asyncio.TaskGroup
    ) -> None:
        told = self._told(pipeline)
        for parcel in desk.due(told, self._clock(), all_of_it=self._ending) if told is not None else ():
            channels = told.channels if told is not None else ()
            errand = Errand(parcel, desk, len(channels))
            for channel in channels:
                self._line_up(pipeline, channel, errand, session, lines)

    def _line_up(
        self,
        pipeline: str,
        channel: str,
        errand: Errand,
        session: aiohttp.ClientSession,
        lines: asyncio.TaskGroup,
    ) -> None:
        """Behind what waits already; of a line that is full the oldest is given up, but for the one on its way."""
        line = self._lines.get((pipeline, channel))
        if line is None:
            line = self._lines[pipeline, channel] = deque([errand])
            lines.create_task(self._serve(pipeline, channel, line, session), name=f"notify-{pipeline}-{channel}")
            return
        line.append(errand)
        if len(line) > self._pace.line:
            lost = line[1]
            del line[1]
            self._counted(self.dropped, "dropped", channel)
            self._over(lost, reached=False)

    async def _serve(self, pipeline: str, channel: str, line: Line, session: aiohttp.ClientSession) -> None:
        while line:
            errand = line[0]
            reached = await self._carried(channel, errand.parcel, session)
            line.popleft()
            self._over(errand, reached=reached)
        del self._lines[pipeline, channel]
        self._wake.set()

    def _over(self, errand: Errand, *, reached: bool) -> None:
        errand.outstanding -= 1
        errand.reached = errand.reached or reached
        if not errand.outstanding and not errand.reached:
            errand.desk.unheard(errand.parcel)

    async def _carried(self, channel: str, parcel: Parcel, session: aiohttp.ClientSession) -> bool:
        """True once the receiver has it; the settings are read anew for each try."""
        title = parcel.notice.title

        def again(tries: int, _wait: timedelta, error: SluicewayError) -> None:
            if self._closed:  # a library may turn a cancellation that comes late into an error of its own
                raise asyncio.CancelledError
            if tries == 1:
                self._note(f"{title}: not sent yet, and tried again: {error.message}. {error.hint}".rstrip())

        try:
            wanted = await retrying(lambda: self._once(channel, parcel, session), self._pace.retry, again)
        except SluicewayError as error:
            if self._closed:
                return False
            self._counted(self.failed, "failed", channel)
            self._note(f"{title}: not sent: {error.message}. {error.hint}".rstrip())
            return False
        self._counted(self.sent, "sent", channel, int(wanted and not self._closed))
        return wanted

    async def _once(self, channel: str, parcel: Parcel, session: aiohttp.ClientSession) -> bool:
        """One try; False if the pipeline is gone, or is not told by this channel any more."""
        notice, seconds = parcel.notice, self._pace.seconds
        told = self._told(notice.pipeline)
        if told is None or channel not in told.channels:
            return False
        async with self._sending:
            with self._port(f"notify.{channel}"):
                match channel:
                    case "slack":
                        await slack.send(session, notice, told, seconds)
                    case "webhook":
                        await webhook.send(session, notice, told, seconds)
                    case _:
                        await mail.send(notice, told, seconds)
        return True

    async def _until_due(self) -> None:
        """Wait for an event, or for the time when something is due."""
        waiting = [at for desk in self._desks.values() if (at := desk.next_at()) is not None]
        if self._ending and not self._lines:
            self._idle.set()
        left = max(0.0, min(waiting) - self._clock()) if waiting and not self._ending else None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), left)

    def _counted(self, counter: dict[str, int], result: str, channel: str, by: int = 1) -> None:
        counter[channel] += by
        if by:
            self._count(channel, result, by)

    def _give_up_the_rest(self) -> None:
        self._closed = True
        for (pipeline, channel), line in self._lines.items():
            self._counted(self.dropped, "dropped", channel, len(line))
            count = len(line)
            self._note(f"{pipeline}: {count} notifications by {channel} were not sent: there was no time left")


@asynccontextmanager
async def carrying(courier: Courier, seconds: float) -> AsyncIterator[asyncio.Task[Never]]:
    """Notifications are sent inside, by the task that is given, and for up to `seconds` after it."""
    task = asyncio.create_task(courier.deliver(), name="courier")
    try:
        yield task
    finally:
        await courier.drained(seconds)
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()  # a courier that ended by itself is a defect, and is raised here
